//! The part of the filter that the kernel side can decide: a *necessary* condition on the packet's
//! first bytes. Whatever it cannot read it accepts; user space has the last word.

use core::ptr::addr_of;

use trace_ebpf::flags;

use crate::{maps::Slot, packet::Packet};

/// Whether the segment just opened may belong to a packet that is asked for.
///
/// # Safety
/// `slot` is this CPU's, its head and packet bytes are filled.
#[inline(always)]
pub unsafe fn accepts(slot: *const Slot) -> bool {
    // SAFETY: as promised.
    let (ethertype, flag, packet) = unsafe {
        let ethertype = (*slot).head.protocol;
        let packet = Packet::of(ethertype, addr_of!((*slot).body).cast());
        (ethertype, (*slot).head.flags, packet)
    };
    if config!(filter_ethertype) != 0 && u32::from(ethertype) != config!(filter_ethertype) {
        return false;
    }
    let Some(packet) = packet else {
        return true;
    };
    if flag & (flags::PACKET | flags::UNREADABLE) != flags::PACKET {
        return true;
    }
    let host = config!(filter_host_len);
    if host != 0 {
        if host as usize != packet.address_words() * 4 {
            return false;
        }
        let wanted = config!(filter_host);
        let want = |at: usize| {
            u32::from_ne_bytes([wanted[at], wanted[at + 1], wanted[at + 2], wanted[at + 3]])
        };
        let same = |address: [u32; 4]| {
            address[0] == want(0)
                && (packet.is_v4()
                    || (address[1] == want(4) && address[2] == want(8) && address[3] == want(12)))
        };
        let (from, to) = packet.addresses();
        if !same(from) && !same(to) {
            return false;
        }
    }
    // an extension header hides the protocol; ICMP errors speak about other packets' ports
    let plain = packet.is_plain();
    let protocol = config!(filter_protocol);
    if protocol != 0 && plain && u32::from(packet.protocol()) != protocol {
        return false;
    }
    let port = config!(filter_port);
    if port != 0 && plain && !packet.is_later_part() {
        if !packet.has_ports() {
            return false;
        }
        let (source, destination) = packet.ports();
        if u32::from(source) != port && u32::from(destination) != port {
            return false;
        }
    }
    true
}
