//! What each hook does, whatever kind of probe it is reached by. `main.rs` wraps these in programs.

pub mod drop;
pub mod napi;
pub mod netfilter;
pub mod receive;
pub mod socket;
pub mod transmit;
pub mod transport;

use core::ffi::c_void;

use aya_log_ebpf::debug;

use crate::{
    maps::{Cpu, claim, release},
    memory::{Memory, Probe},
    segment::{Detail, Stamp, nested, stamp},
};

/// Runs `body` with this CPU's state; not if it interrupted another one.
///
/// The compiler makes one function of a closure that several hooks share, which then asks at run time what each hook knows when it is
/// compiled: 300 instructions. Code that is inlined into several hooks uses [`claim`] and [`release`].
#[inline(always)]
pub fn alone<R: Default>(body: impl FnOnce(*mut Cpu) -> R) -> Option<R> {
    let cpu = claim()?;
    let result = body(cpu);
    release(cpu);
    Some(result)
}

/// A hook that interrupted another one: its stamp goes its own way.
///
/// # Safety
/// `skb` is live if `what.opens`.
#[inline(always)]
pub unsafe fn interrupted<M: Memory>(skb: *const c_void, what: Stamp, detail: Detail) {
    if what.opens {
        // SAFETY: as promised.
        unsafe { nested::<M>(skb, what.hook as u32, &detail, what.poll) }
    }
}

/// Stamps a live sk_buff; false if this interrupted another hook.
#[inline(always)]
pub fn visit<M: Memory>(skb: *const c_void, what: Stamp, detail: Detail) -> bool {
    // SAFETY: `skb` is the hook's argument.
    unsafe {
        let Some(cpu) = claim() else {
            interrupted::<M>(skb, what, detail);
            return false;
        };
        stamp::<M>(cpu, skb, what, detail);
        release(cpu);
    }
    true
}

/// [`visit`] for a hook whose argument `n` is the sk_buff.
#[inline(always)]
pub fn visit_argument<P: Probe>(probe: &P, n: usize, what: Stamp) {
    if !visit::<P::Memory>(probe.pointer(n), what, Detail::default()) {
        debug!(probe, "hook {} interrupted another one", what.hook as u8);
    }
}
