//! A segment begins: its head, and the packet's first bytes.

use core::{
    ffi::c_void,
    ptr::{addr_of_mut, read_volatile, write_volatile},
};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use trace_ebpf::{Counter, Kind, PACKET_BYTES, SegmentHead, flags};

use super::{device, notes::name_device, number};
use crate::{
    chosen::chosen,
    filter,
    maps::{Cpu, Slot, count, uncount},
    memory::{Helper, Memory, Pointer},
    packet::{Packet, TCP},
};

/// The network header is where the data begins.
pub(super) const AT_DATA: u32 = 1;
/// The packet's first bytes are not read.
pub(super) const WITHOUT_PACKET: u32 = 2;
/// The address may be another packet's by now: what is read counts only behind the same first 16 bytes: IPv4's
/// identification, checksum and sender, IPv6's length and the sender's network.
pub(super) const SAME: u32 = 4;

/// Fills the head of a new segment, which began at `slot.last`, and copies the packet's first bytes.
#[inline(never)]
pub(super) unsafe fn open<M: Memory>(
    cpu: *mut Cpu,
    slot: *mut Slot,
    skb: *const c_void,
    key: u64,
    how: u32,
) -> u32 {
    // SAFETY: `skb` is a live sk_buff that the hook was given; all reads are checked by the verifier or a helper.
    unsafe {
        let time = (*slot).last;
        let head = addr_of_mut!((*slot).head);
        let view = M::view(cpu, skb);
        let protocol = u16::from_be(M::member::<u16>(view, offset!(skb_protocol)));
        let cloned =
            M::member::<u8>(view, offset!(skb_cloned)) >> (offset!(skb_cloned_shift) & 7) & 1;
        let mut flag = if cloned != 0 { flags::CLONED } else { 0 };
        let buffer = number(cpu, M::member::<Pointer>(view, offset!(skb_head)).0);
        let mut kept = 0;
        let mut cut = 0;
        if how & WITHOUT_PACKET == 0 {
            flag |= flags::PACKET;
            kept = PACKET_BYTES;
            if read_packet::<M>(cpu, slot, view, buffer, how & AT_DATA != 0) {
                kept = Packet::ip(addr_of_mut!((*slot).body).cast()).kept();
                cut = PACKET_BYTES - kept;
            } else {
                flag |= flags::UNREADABLE;
            }
        }
        if config!(sample) != 0 {
            // what is asked of a slot that holds a packet and writes nothing
            (*head).skb = key;
            (*head).head = buffer;
            (*head).flags = flag;
            (*head).protocol = protocol;
            (*slot).handed = 0;
            (*slot).phase = 0;
            (*slot).ignored = 0;
            if left_out(slot) {
                return 1;
            }
        }
        let device = device(cpu, M::member::<Pointer>(view, offset!(skb_dev)).0);
        let sk: *const c_void = M::member::<Pointer>(view, offset!(skb_sk)).0;
        let mut netns = 0;
        let mut ifindex = 0;
        if !device.is_null() {
            ifindex = M::load::<u32>(device, offset!(dev_ifindex));
            let net = M::load::<Pointer>(device, offset!(dev_net)).0;
            if !net.is_null() {
                netns = M::load::<u32>(net, offset!(net_inum));
            }
        } else if !sk.is_null() {
            let net = M::load::<Pointer>(sk, offset!(sk_net)).0;
            if !net.is_null() {
                netns = M::load::<u32>(net, offset!(net_inum));
            }
        }
        let length = M::member::<u32>(view, offset!(skb_len));
        *head = SegmentHead {
            kind: Kind::Segment as u8,
            flags: flag,
            bytes: 0,
            cpu: aya_ebpf::helpers::bpf_get_smp_processor_id() as u16,
            protocol,
            skb: key,
            t0: time,
            head: buffer,
            sk: number(cpu, sk),
            len: length,
            netns,
            ifindex,
            cut: cut as u32,
        };
        (*slot).end = kept as u32;
        (*slot).ifindex = ifindex;
        (*slot).netns = netns;
        write_volatile(addr_of_mut!((*slot).device).cast(), device);
        (*slot).polled = 0;
        (*slot).handed = 0;
        (*slot).phase = 0;
        (*slot).ignored = 0;
        count(Counter::SegmentsOpened);
        let refused = config!(filter) != 0 && !filter::accepts(slot);
        if refused {
            (*slot).ignored = 1;
            count(Counter::Filtered);
        } else if ifindex != 0 {
            name_device::<M>(cpu, device, ifindex, netns);
        }
        u32::from(refused)
    }
}

/// The packet's headers could not be read yet.
#[inline(always)]
pub unsafe fn unread(slot: *const Slot) -> bool {
    // SAFETY: the slot is ours.
    let flag = unsafe { (*slot).head.flags };
    flag & (flags::PACKET | flags::UNREADABLE) == flags::PACKET | flags::UNREADABLE
}

/// The packet's headers were read.
#[inline(always)]
pub(super) unsafe fn readable(slot: *const Slot) -> bool {
    // SAFETY: the slot is ours.
    let flag = unsafe { (*slot).head.flags };
    flag & (flags::PACKET | flags::UNREADABLE) == flags::PACKET
}

/// Tries once more to read the packet's headers; 1 if they say that it is left out.
#[inline(never)]
pub(super) unsafe fn read_again<M: Memory>(
    cpu: *mut Cpu,
    slot: *mut Slot,
    skb: *const c_void,
    how: u32,
) -> u32 {
    // SAFETY: as in `open`; the slot's body is longer than two words.
    unsafe {
        let buffer = (*slot).head.head;
        let start = addr_of_mut!((*slot).body).cast::<u64>();
        let known = [read_volatile(start), read_volatile(start.add(1))];
        if how & SAME != 0 && known[0] == 0 {
            return 0;
        }
        let view = M::view(cpu, skb);
        let read = read_packet::<M>(cpu, slot, view, buffer, how & AT_DATA != 0);
        if how & SAME != 0 && [read_volatile(start), read_volatile(start.add(1))] != known {
            write_volatile(start, known[0]);
            write_volatile(start.add(1), known[1]);
            return 0;
        }
        if !read {
            return 0;
        }
        (*slot).head.flags &= !flags::UNREADABLE;
        if !left_out(slot) {
            return 0;
        }
        // what is opened is sent, lost or refused by the filter
        uncount(Counter::SegmentsOpened);
        1
    }
}

/// [`read_again`] for a packet that its socket has by now, of which only the address is known: it may have been read and freed on
/// another CPU.
#[inline(always)]
pub unsafe fn read_queued(cpu: *mut Cpu, slot: *mut Slot) -> u32 {
    // SAFETY: the slot is ours; the helper checks each address.
    unsafe {
        let skb = (*slot).head.skb as *const c_void;
        let buffer = number(cpu, Helper::load::<Pointer>(skb, offset!(skb_head)).0);
        if buffer != (*slot).head.head {
            return 0;
        }
        read_again::<Helper>(cpu, slot, skb, SAME)
    }
}

/// The packet's headers say that its flow is not in the sample: from here on the slot is ignored. Headers that cannot be read
/// yet say nothing.
#[inline(always)]
unsafe fn left_out(slot: *mut Slot) -> bool {
    // SAFETY: the slot is ours; its packet bytes were read.
    unsafe {
        if config!(sample) == 0
            || !readable(slot)
            || chosen((*slot).head.protocol, addr_of_mut!((*slot).body).cast())
        {
            return false;
        }
        (*slot).ignored = 1;
        count(Counter::LeftOut);
        true
    }
}

/// Copies the packet's first bytes, from its network header on; false when the headers are not in the
/// linear part (yet): a driver may leave them in a page until GRO and each layer pull their own.
#[inline(always)]
unsafe fn read_packet<M: Memory>(
    cpu: *mut Cpu,
    slot: *mut Slot,
    view: *const c_void,
    buffer: u64,
    at_data: bool,
) -> bool {
    // SAFETY: as in `open`.
    unsafe {
        let data = number(cpu, M::member::<Pointer>(view, offset!(skb_data)).0);
        let network = if at_data {
            data
        } else {
            buffer + u64::from(M::member::<u16>(view, offset!(skb_network_header)))
        };
        let length = M::member::<u32>(view, offset!(skb_len));
        let elsewhere = M::member::<u32>(view, offset!(skb_data_len));
        let linear = data + u64::from(length - elsewhere);
        let failed = bpf_probe_read_kernel(
            addr_of_mut!((*slot).body).cast(),
            PACKET_BYTES as u32,
            network as *const c_void,
        );
        failed == 0
            && network + 20 <= linear
            && (elsewhere == 0 || network + headers(slot) <= linear)
    }
}

/// Bytes up to the end of the packet's transport header, as far as its IP header in the slot says: ports at least.
#[inline(always)]
unsafe fn headers(slot: *const Slot) -> u64 {
    // SAFETY: the slot's body is longer than PACKET_BYTES.
    let packet = unsafe { Packet::ip((&raw const (*slot).body).cast()) };
    packet.header() as u64 + if packet.protocol() == TCP { 20 } else { 8 }
}
