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
use trace_ebpf::Counter;

use crate::{
    maps::{Cpu, claim, count, release},
    memory::{Memory, Probe},
    segment::{Detail, Stamp, nested, stamp},
};

/// Runs `body` with a state of this CPU; if none is free, that is counted.
///
/// The compiler makes one function of a closure that several hooks share, which then asks at run time what each hook knows when it is
/// compiled: 300 instructions. Code that is inlined into several hooks uses [`claim`] and [`release`].
#[inline(always)]
pub fn alone<R: Default>(body: impl FnOnce(*mut Cpu) -> R) -> Option<R> {
    let Some(cpu) = claim() else {
        count(Counter::Missed);
        return None;
    };
    let result = body(cpu);
    release(cpu);
    Some(result)
}

/// No state is free: the stamp goes its own way.
///
/// # Safety
/// `skb` is live.
#[inline(always)]
pub unsafe fn interrupted<M: Memory>(skb: *const c_void, what: Stamp, detail: Detail) {
    // SAFETY: as promised.
    unsafe { nested::<M>(skb, what.hook as u32, &detail, what.poll) }
}

/// Stamps a live sk_buff; false if no state was free.
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
        debug!(probe, "hook {} interrupted others", what.hook as u8);
    }
}
