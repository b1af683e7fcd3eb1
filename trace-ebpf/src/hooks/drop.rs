//! A packet is freed: after use, or thrown away.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_probe_read_kernel};
use aya_log_ebpf::{debug, warn};
use trace_ebpf::{Counter, DropHead, Hook, Kind, MAX_STACK, flags};

use super::{claim, interrupted, release};
use crate::{
    maps::{Cpu, Slot, count, reserve, submit},
    memory::{Memory, Pointer, Probe},
    packet::{Packet, TCP},
    segment::{Detail, Stamp, now, number, phase, phase_of, slot_for, stamp_key},
};

const CONSUMED: Stamp = Stamp {
    ends: true,
    late: true,
    again: true,
    ..Stamp::at(Hook::Consume, 0)
};

/// `consume_skb(skb, …)`.
#[inline(always)]
pub fn consume<P: Probe>(probe: &P) {
    let skb = probe.pointer(0);
    // SAFETY: `skb` is live.
    unsafe {
        let Some(cpu) = claim() else {
            return interrupted::<P::Memory>(skb, CONSUMED, Detail::default());
        };
        let key = number(cpu, skb);
        (*cpu).freed = key;
        stamp_key::<P::Memory>(cpu, skb, key, CONSUMED, Detail::default());
        release(cpu);
    }
}

/// `skb_release_head_state(skb)`: on the way of every free. Those that have a tracepoint told of themselves just before;
/// others have none (`__kfree_skb`, `napi_consume_skb` of another CPU's packet since 6.19).
#[inline(always)]
pub fn freed<P: Probe>(probe: &P) {
    let skb = probe.pointer(0);
    // SAFETY: `skb` is live.
    unsafe {
        let Some(cpu) = claim() else {
            return count(Counter::Missed);
        };
        let key = number(cpu, skb);
        // GRO's own end tells which packet it was merged into
        let told = (*cpu).freed == key || (*cpu).gro == key;
        (*cpu).freed = 0;
        if !told && ends::<P::Memory>(cpu, skb, key) {
            stamp_key::<P::Memory>(cpu, skb, key, CONSUMED, Detail::default());
        }
        release(cpu);
    }
}

/// Whether a packet whose head state is released ends here, and is worth a record.
#[inline(always)]
unsafe fn ends<M: Memory>(cpu: *mut Cpu, skb: *const c_void, key: u64) -> bool {
    // SAFETY: `skb` is live.
    unsafe {
        match phase_of(cpu, key) {
            // What TCP read, or keeps to send it again, has no device.
            0 => !M::load::<Pointer>(skb, offset!(skb_dev)).0.is_null(),
            phase::RECEIVE | phase::LOCAL.. => {
                let slot = slot_for(cpu, key);
                slot.is_null() || !outlived(slot)
            }
            _ => true,
        }
    }
}

/// Whether what is in the packet may outlive its sk_buff: TCP's bytes (`tcp_try_coalesce`), and parts, of which reassembly
/// makes one the whole (`skb_morph`).
#[inline(always)]
unsafe fn outlived(slot: *const Slot) -> bool {
    // SAFETY: the slot's body is longer than PACKET_BYTES.
    unsafe {
        if (*slot).head.flags & flags::PACKET == 0 {
            return true;
        }
        let packet = Packet::ip((&raw const (*slot).body).cast());
        packet.protocol() == TCP || packet.is_part()
    }
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
            again: true,
            ..Stamp::at(Hook::Drop, 0)
        };
        let time = match claim() {
            Some(cpu) => {
                let key = number(cpu, skb);
                (*cpu).freed = key;
                let slot = stamp_key::<P::Memory>(cpu, skb, key, what, Detail::default());
                let time = if slot.is_null() { 0 } else { (*slot).last };
                release(cpu);
                if time == 0 {
                    return; // refused by the filter
                }
                time
            }
            None => {
                interrupted::<P::Memory>(skb, what, Detail::default());
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
