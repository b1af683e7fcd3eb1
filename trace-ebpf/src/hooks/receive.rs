//! From the driver to the transport layer.

use trace_ebpf::Hook;

use super::{alone, claim, interrupted, release, visit_argument};
use crate::{
    memory::Probe,
    segment::{Detail, Stamp, bit, number, phase, stamp, stamp_key},
};

/// `napi_gro_receive_entry(skb)`, `napi_gro_frags_entry(skb)`: `eth_type_trans` has been there, the IP layer has not.
#[inline(always)]
pub fn gro<P: Probe>(probe: &P) {
    let skb = probe.pointer(0);
    let what = Stamp {
        after: bit(phase::DRIVER),
        at_data: true,
        device: true,
        poll: true,
        anew: true,
        ..Stamp::at(Hook::Gro, phase::EARLY)
    };
    // SAFETY: `skb` is live.
    unsafe {
        let Some(cpu) = claim() else {
            return interrupted::<P::Memory>(skb, what, Detail::default());
        };
        let key = number(cpu, skb);
        (*cpu).gro = key;
        stamp_key::<P::Memory>(cpu, skb, key, what, Detail::default());
        release(cpu);
    }
}

/// `napi_gro_receive_exit(ret)`: only a merged or held packet says anything new.
#[inline(always)]
pub fn gro_done<P: Probe>(probe: &P) {
    const MERGED: u64 = 0;
    const MERGED_FREE: u64 = 1;
    const HELD: u64 = 2;
    let result = probe.number(0) & 0xffff_ffff;
    let what = Stamp {
        opens: false,
        ends: result == MERGED_FREE || result == MERGED,
        ..Stamp::at(Hook::GroDone, 0)
    };
    alone(|cpu| {
        // SAFETY: the packet may be gone: its address is a key only (`opens` is false).
        unsafe {
            let key = (*cpu).gro;
            (*cpu).gro = 0;
            if key != 0 && (result == MERGED || result == MERGED_FREE || result == HELD) {
                let detail = Detail {
                    a: result as u8,
                    ..Default::default()
                };
                stamp_key::<P::Memory>(cpu, core::ptr::null(), key, what, detail);
            }
        }
    });
}

/// `netif_rx(skb)`: onto this (or, with RPS, another) CPU's backlog.
#[inline(always)]
pub fn backlog<P: Probe>(probe: &P) {
    let what = Stamp {
        after: bit(phase::DRIVER) | bit(phase::RECEIVE) | bit(phase::EARLY),
        at_data: true,
        device: true,
        anew: true,
        ..Stamp::at(Hook::Backlog, phase::EARLY)
    };
    let skb = probe.pointer(0);
    // SAFETY: `skb` is live.
    unsafe {
        let Some(cpu) = claim() else {
            return interrupted::<P::Memory>(skb, what, Detail::default());
        };
        let slot = stamp::<P::Memory>(cpu, skb, what, Detail::default());
        if !slot.is_null() {
            (*slot).polled = 0;
        }
        release(cpu);
    }
}

/// `netif_receive_skb(skb)`.
#[inline(always)]
pub fn receive<P: Probe>(probe: &P) {
    let what = Stamp {
        after: bit(phase::EARLY) | bit(phase::DRIVER),
        at_data: true,
        device: true,
        poll: true,
        anew: true,
        again: true,
        given: true,
        ..Stamp::at(Hook::Receive, phase::RECEIVE)
    };
    receiving(probe, what);
}

/// Stamps, and remembers the packet for `sk_data_ready`, which is not told it.
#[inline(always)]
pub fn receiving<P: Probe>(probe: &P, what: Stamp) {
    let skb = probe.pointer(0);
    // SAFETY: `skb` is live.
    unsafe {
        let Some(cpu) = claim() else {
            return interrupted::<P::Memory>(skb, what, Detail::default());
        };
        let key = number(cpu, skb);
        (*cpu).receiving = key;
        stamp_key::<P::Memory>(cpu, skb, key, what, Detail::default());
        release(cpu);
    }
}

/// `tcf_classify(skb, …)`, ingress or egress.
#[inline(always)]
pub fn classify<P: Probe>(probe: &P) {
    visit_argument(probe, 0, Stamp::at(Hook::Classify, 0));
}

/// `bpf_prog_run_generic_xdp(skb, …)`.
#[inline(always)]
pub fn xdp_generic<P: Probe>(probe: &P) {
    visit_argument(
        probe,
        0,
        Stamp {
            at_data: true,
            ..Stamp::at(Hook::XdpGeneric, phase::RECEIVE)
        },
    );
}

/// `ip_rcv_core(skb, net)`, `ip6_rcv_core(skb, dev, net)`.
#[inline(always)]
pub fn ip<P: Probe>(probe: &P) {
    visit_argument(
        probe,
        0,
        Stamp {
            poll: true,
            ..Stamp::at(Hook::Ip, phase::RECEIVE)
        },
    );
}

/// `ip_local_deliver(skb)`, `ip6_input(skb)`.
#[inline(always)]
pub fn deliver<P: Probe>(probe: &P) {
    visit_argument(
        probe,
        0,
        Stamp {
            again: true,
            ..Stamp::at(Hook::Deliver, phase::LOCAL)
        },
    );
}

/// `ip_forward(skb)`, `ip6_forward(skb)`.
#[inline(always)]
pub fn forward<P: Probe>(probe: &P) {
    visit_argument(
        probe,
        0,
        Stamp {
            again: true,
            ..Stamp::at(Hook::Forward, phase::FORWARD)
        },
    );
}
