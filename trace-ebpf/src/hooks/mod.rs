//! What each hook does, whatever kind of probe it is reached by. `main.rs` wraps these in programs.

pub mod drop;
pub mod napi;
pub mod netfilter;
pub mod receive;
pub mod socket;
pub mod transmit;
pub mod transport;

use core::{
    ffi::c_void,
    ptr::{addr_of, addr_of_mut, read_volatile, write_volatile},
};

use aya_log_ebpf::debug;

use crate::{
    maps::{Cpu, this_cpu},
    memory::{Memory, Probe},
    segment::{Detail, Stamp, nested, stamp},
};

/// This CPU's state, for this program alone until [`release`]; none if this interrupted another one.
#[inline(always)]
pub fn claim() -> Option<*mut Cpu> {
    let cpu = this_cpu()?;
    // SAFETY: the state is this CPU's own.
    unsafe {
        if read_volatile(addr_of!((*cpu).busy)) != 0 {
            return None;
        }
        write_volatile(addr_of_mut!((*cpu).busy), 1);
    }
    Some(cpu)
}

/// What [`claim`] gave is given back.
#[inline(always)]
pub fn release(cpu: *mut Cpu) {
    // SAFETY: the state is this CPU's own.
    unsafe { write_volatile(addr_of_mut!((*cpu).busy), 0) }
}

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
