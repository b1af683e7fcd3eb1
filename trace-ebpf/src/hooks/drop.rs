//! A packet is freed: after use, or thrown away.

use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_probe_read_kernel};
use aya_log_ebpf::{debug, warn};
use trace_ebpf::{Counter, DropHead, Hook, Kind, MAX_STACK};

use super::{alone, visit_argument};
use crate::{
    maps::{count, reserve, submit},
    memory::{Memory as _, Pointer, Probe},
    segment::{Detail, Stamp, nested, now, stamp},
};

/// `consume_skb(skb, …)`.
#[inline(always)]
pub fn consume<P: Probe>(probe: &P) {
    visit_argument(
        probe,
        0,
        Stamp {
            ends: true,
            late: true,
            ..Stamp::at(Hook::Consume, 0)
        },
    );
}

/// A drop's record: always of full length, so that its size is a constant.
#[repr(C)]
struct Record {
    head: DropHead,
    stack: [u64; MAX_STACK],
}

/// `kfree_skb(skb, location[, reason[, rx_sk]])`.
#[inline(always)]
pub fn drop<P: Probe>(probe: &P) {
    let skb = probe.pointer(0);
    // SAFETY: `skb` is live until the hook returns.
    unsafe {
        let protocol = u16::from_be(P::Memory::load::<u16>(skb, offset!(skb_protocol)));
        if protocol == 0
            && P::Memory::load::<Pointer>(skb, offset!(skb_dev))
                .0
                .is_null()
        {
            return; // netlink, unix sockets: never on a network
        }
        let what = Stamp {
            ends: true,
            any: true,
            late: true,
            ..Stamp::at(Hook::Drop, 0)
        };
        let stamped = alone(|cpu| {
            let slot = stamp::<P::Memory>(cpu, skb, what, Detail::default());
            if slot.is_null() { 0 } else { (*slot).last }
        });
        let time = match stamped {
            Some(0) => return, // refused by the filter
            Some(time) => time,
            None => {
                nested::<P::Memory>(skb, what.hook as u32, &Detail::default(), false);
                now()
            }
        };

        let Some(record) = reserve::<Record>() else {
            count(Counter::RecordsLost);
            warn!(probe, "drop: no room in the ring");
            return;
        };
        let mut depth = 0;
        if config!(stacks) != 0 {
            let bytes = bpf_get_stack(
                probe.as_ptr(),
                (&raw mut (*record).stack).cast(),
                (MAX_STACK * 8) as u32,
                0,
            );
            if bytes > 0 {
                depth = (bytes / 8) as u8;
            }
        }
        let mut head = DropHead {
            kind: Kind::Drop as u8,
            depth,
            bytes: size_of::<Record>() as u16,
            cpu: aya_ebpf::helpers::bpf_get_smp_processor_id() as u16,
            protocol,
            skb: 0,
            time,
            location: 0,
            reason: if config!(kfree_has_reason) != 0 {
                probe.number(2) as u32
            } else {
                DropHead::NO_REASON
            },
            shared: 0,
        };
        // the data's reference count lies behind it, at `skb->head + skb->end`
        let mut dataref = 0u32;
        core::ptr::write_volatile(
            (&raw mut head.skb).cast(),
            P::Memory::load::<Pointer>(skb, offset!(skb_head)).0,
        );
        let shared_info = head.skb + u64::from(P::Memory::load::<u32>(skb, offset!(skb_end)));
        bpf_probe_read_kernel(
            (&raw mut dataref).cast(),
            4,
            (shared_info as usize + offset!(shinfo_dataref)) as *const _,
        );
        // SKB_DATAREF_SHIFT: the lower half counts all users
        head.shared = u32::from(dataref & 0xffff > 1);
        core::ptr::write_volatile((&raw mut head.skb).cast(), skb);
        core::ptr::write_volatile((&raw mut head.location).cast(), probe.pointer(1));
        (*record).head = head;
        submit(record);
        debug!(
            probe,
            "drop: reason {}, {} return addresses", head.reason, head.depth
        );
    }
}
