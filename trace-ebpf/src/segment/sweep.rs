//! Slots that no hook sends: user space asks for them.

use core::ptr::addr_of_mut;

use trace_ebpf::SLOTS_PER_CPU;

use super::{flush, now};
use crate::maps::{Cpu, LEVELS, Slot, claim_level, release};

/// Sends the slots that nobody has touched for `idle` ns, and those that were opened `age` ns ago, so that
/// user space knows how long it has to wait for them. Run on each CPU by user space (`BPF_PROG_TEST_RUN`), many
/// times a second while there is traffic. False when a hook was at work, and its slots could not be sent.
pub fn sweep(idle: u64, age: u64) -> bool {
    let mut swept = true;
    for level in 0..LEVELS {
        match claim_level(level) {
            Some(cpu) => {
                sweep_level(cpu, idle, age);
                release(cpu);
            }
            None => swept = false,
        }
    }
    swept
}

#[inline(never)]
fn sweep_level(cpu: *mut Cpu, idle: u64, age: u64) -> u32 {
    // SAFETY: the busy flag keeps others out; the index is bounded by the loop.
    unsafe {
        let time = now();
        for index in 0..SLOTS_PER_CPU as usize {
            let slot = addr_of_mut!((*cpu).slots).cast::<Slot>().add(index);
            let held = (*slot).head.skb != 0;
            if held && (time - (*slot).last >= idle || time - (*slot).head.t0 >= age) {
                if (*slot).ignored == 0 {
                    flush(slot);
                } else {
                    (*slot).head.skb = 0;
                }
            }
        }
    }
    0
}
