//! From IP output to the driver.

use core::ffi::c_void;

use trace_ebpf::{Counter, Hook};

use super::{alone, claim, release, visit, visit_argument};
use crate::{
    maps::count,
    memory::Probe,
    segment::{Detail, Stamp, now, number, phase, phase_of, stamp_key},
};

/// `__ip_local_out(net, sk, skb)`, `__ip6_local_out`.
#[inline(always)]
pub fn ip_output<P: Probe>(probe: &P) {
    output(probe.pointer(2));
}

/// `ip6_xmit(sk, skb, …)`: TCP over IPv6.
#[inline(always)]
pub fn ip6_xmit<P: Probe>(probe: &P) {
    output(probe.pointer(1));
}

/// The header is not complete here: the time is kept until the packet's next hook, a moment later.
#[inline(always)]
fn output(skb: *const c_void) {
    let Some(cpu) = claim() else {
        return count(Counter::Missed);
    };
    // SAFETY: this CPU's state.
    unsafe {
        (*cpu).output = number(cpu, skb);
        (*cpu).output_time = now();
    }
    release(cpu);
}

/// `ip_finish_output2(net, sk, skb)`, `ip6_finish_output2`.
#[inline(always)]
pub fn neighbour<P: Probe>(probe: &P) {
    let what = Stamp {
        after: phase::ON_THE_WAY,
        sender: true,
        ..Stamp::at(Hook::Neighbour, phase::TRANSMIT)
    };
    visit_argument(probe, 2, what);
}

/// `net_dev_queue(skb)` or `__dev_queue_xmit(skb, …)`.
#[inline(always)]
pub fn dev_queue<P: Probe>(probe: &P) {
    let what = Stamp {
        after: phase::ON_THE_WAY,
        device: true,
        sender: true,
        anew: true,
        ..Stamp::at(Hook::DevQueue, phase::TRANSMIT)
    };
    visit_argument(probe, 0, what);
}

/// `qdisc_enqueue(qdisc, txq, skb)`.
#[inline(always)]
pub fn qdisc_enqueue<P: Probe>(probe: &P) {
    visit_argument(
        probe,
        2,
        Stamp {
            hands: true,
            ..Stamp::at(Hook::QdiscEnqueue, phase::TRANSMIT)
        },
    );
}

/// `qdisc_dequeue(qdisc, txq, packets, skb)`; `skb` is null when the queue was empty, and the first of a
/// list when several were taken.
#[inline(always)]
pub fn qdisc_dequeue<P: Probe>(probe: &P) {
    let skb = probe.pointer(3);
    if !skb.is_null() {
        visit::<P::Memory>(
            skb,
            Stamp {
                takes: true,
                ..Stamp::at(Hook::QdiscDequeue, phase::TRANSMIT)
            },
            Detail::default(),
        );
    }
}

/// `net_dev_start_xmit(skb, dev)`.
#[inline(always)]
pub fn start_xmit<P: Probe>(probe: &P) {
    let what = Stamp {
        after: phase::ON_THE_WAY,
        device: true,
        ..Stamp::at(Hook::StartXmit, phase::DRIVER)
    };
    visit_argument(probe, 0, what);
}

/// `net_dev_xmit(skb, rc, dev, len)`: the driver has it and may have freed it: its address is a key only.
#[inline(always)]
pub fn xmit_done<P: Probe>(probe: &P) {
    let skb = probe.pointer(0);
    let code = probe.number(1) as u16;
    alone(|cpu| {
        let what = Stamp {
            opens: false,
            hands: true,
            ..Stamp::at(Hook::XmitDone, phase::DRIVER)
        };
        // SAFETY: `opens` is false.
        unsafe {
            let key = number(cpu, skb);
            // else on a backlog already (loopback, veth): the next leg has begun
            if phase_of(cpu, key) == phase::DRIVER {
                stamp_key::<P::Memory>(
                    cpu,
                    skb,
                    key,
                    what,
                    Detail {
                        b: code,
                        ..Default::default()
                    },
                );
            }
        }
    });
}
