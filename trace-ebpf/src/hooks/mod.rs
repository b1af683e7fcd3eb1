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

/// Runs `body` with this CPU's state; not if it interrupted another one.
#[inline(always)]
pub fn alone<R: Default>(body: impl FnOnce(*mut Cpu) -> R) -> Option<R> {
    let cpu = this_cpu()?;
    // SAFETY: the state is this CPU's own.
    unsafe {
        if read_volatile(addr_of!((*cpu).busy)) != 0 {
            return None;
        }
        write_volatile(addr_of_mut!((*cpu).busy), 1);
        let result = body(cpu);
        write_volatile(addr_of_mut!((*cpu).busy), 0);
        Some(result)
    }
}

/// Stamps a live sk_buff; false if this interrupted another hook.
#[inline(always)]
pub fn visit<M: Memory>(skb: *const c_void, what: Stamp, detail: Detail) -> bool {
    // SAFETY: `skb` is the hook's argument.
    let taken = alone(|cpu| unsafe {
        stamp::<M>(cpu, skb, what, detail);
    });
    if taken.is_none() && what.opens {
        // SAFETY: as above.
        unsafe { nested::<M>(skb, what.hook as u32, &detail, what.poll) }
    }
    taken.is_some()
}

/// [`visit`] for a hook whose argument `n` is the sk_buff.
#[inline(always)]
pub fn visit_argument<P: Probe>(probe: &P, n: usize, what: Stamp) {
    if !visit::<P::Memory>(probe.pointer(n), what, Detail::default()) {
        debug!(probe, "hook {} interrupted another one", what.hook as u8);
    }
}
