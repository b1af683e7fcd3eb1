//! Stamps taken while other hooks have all of the CPU's states.

use core::{
    ffi::c_void,
    ptr::{addr_of, addr_of_mut, read_volatile, write_volatile},
};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use trace_ebpf::{Counter, Entry, Hook, Kind, PACKET_BYTES, SegmentHead, Tag, flags};

use super::{Detail, LONGEST, notes::causes, now};
use crate::{
    chosen::chosen,
    maps::{Cpu, count, facts, send},
    memory::{Memory, Pointer},
    reading::soil,
};

/// A hook that interrupted another one: its stamp goes straight to the ring, alone, with the poll it happened
/// in (`poll`). Places that hold nothing are filled with thread 0, which says nothing.
///
/// # Safety
/// `skb` is live.
#[inline(never)]
pub unsafe fn nested<M: Memory>(skb: *const c_void, hook: u32, detail: &Detail, poll: bool) {
    #[repr(C)]
    struct Alone {
        head: SegmentHead,
        entries: [Entry; 7],
    }
    const NOTHING: Entry = Entry {
        value: 0,
        tag: Tag::Pid as u8,
        a: 0,
        b: 0,
    };
    let Some(cpu) = facts() else { return };
    // SAFETY: reads as in `open`; the poll's fields are written by its own softirq only.
    unsafe {
        if config!(sample) != 0 && !in_sample::<M>(cpu, skb, hook) {
            return;
        }
        count(Counter::Nested);
        let time = now();
        let mut alone = Alone {
            head: SegmentHead::default(),
            entries: [NOTHING; 7],
        };
        let mut t0 = time;
        let start = (*cpu).poll_start;
        if poll && start != 0 && time - start < LONGEST / 4 {
            let (irq, raise, softirq) = causes(cpu);
            let recent = |at: u64| at != 0 && time - at < LONGEST / 2;
            for earlier in [start, softirq, raise, irq] {
                if recent(earlier) && earlier < t0 {
                    t0 = earlier;
                }
            }
            let entry = |at: u64, hook: Hook| Entry {
                value: (at - t0) as u32,
                tag: hook as u8,
                a: 0,
                b: 0,
            };
            if recent(irq) {
                alone.entries[0] = entry(irq, Hook::Interrupt);
                alone.entries[0].b = (*cpu).cause_irq;
            }
            if recent(raise) {
                alone.entries[1] = entry(raise, Hook::NapiSchedule);
            }
            if recent(softirq) {
                alone.entries[2] = entry(softirq, Hook::Softirq);
            }
            alone.entries[3] = entry(start, Hook::Poll);
            alone.entries[4] = Entry {
                value: (*cpu).poll_number,
                tag: Tag::Poll as u8,
                a: 0,
                b: 0,
            };
            (*cpu).poll_used = 1;
            (*cpu).poll_key = 0;
        }
        alone.entries[5] = Entry {
            value: (time - t0) as u32,
            tag: hook as u8,
            a: detail.a,
            b: detail.b,
        };
        alone.entries[6].value = detail.pid;
        write_volatile((&raw mut alone.head.skb).cast::<*const c_void>(), skb);
        alone.head.kind = Kind::Segment as u8;
        alone.head.flags = flags::NESTED;
        alone.head.bytes = size_of::<Alone>() as u16;
        alone.head.cpu = aya_ebpf::helpers::bpf_get_smp_processor_id() as u16;
        alone.head.protocol = u16::from_be(M::load::<u16>(skb, offset!(skb_protocol)));
        alone.head.t0 = t0;
        alone.head.sk = detail.sk;
        alone.head.len = M::load::<u32>(skb, offset!(skb_len));
        count(Counter::SegmentsOpened);
        if send((&raw const alone).cast(), size_of::<Alone>() as u64) {
            count(Counter::SegmentsSent);
        } else {
            count(Counter::SegmentsLost);
            soil(detail.sk);
        }
    }
}

/// What a slot would remember of the packet: whether its flow is followed. Headers that cannot be read say no.
#[inline(always)]
unsafe fn in_sample<M: Memory>(cpu: *mut Cpu, skb: *const c_void, hook: u32) -> bool {
    // SAFETY: `skb` is live; the helper checks the address.
    unsafe {
        // the program that we interrupted may be about to read its own number
        let number = |pointer: *const c_void| {
            let before = read_volatile(addr_of!((*cpu).number));
            write_volatile(addr_of_mut!((*cpu).number).cast(), pointer);
            let number = read_volatile(addr_of!((*cpu).number));
            write_volatile(addr_of_mut!((*cpu).number), before);
            number
        };
        let early = [Hook::Gro, Hook::Backlog, Hook::Receive, Hook::XdpGeneric];
        let network = if early.iter().any(|&early| early as u32 == hook) {
            number(M::load::<Pointer>(skb, offset!(skb_data)).0)
        } else {
            number(M::load::<Pointer>(skb, offset!(skb_head)).0)
                + u64::from(M::load::<u16>(skb, offset!(skb_network_header)))
        };
        let mut packet = [0_u64; PACKET_BYTES / 8];
        let failed = bpf_probe_read_kernel(
            (&raw mut packet).cast(),
            PACKET_BYTES as u32,
            network as *const c_void,
        );
        let protocol = u16::from_be(M::load::<u16>(skb, offset!(skb_protocol)));
        failed == 0 && chosen(protocol, (&raw const packet).cast())
    }
}
