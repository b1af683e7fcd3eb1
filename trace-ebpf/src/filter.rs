//! The part of the filter that the kernel side can decide: a *necessary* condition on the packet's
//! first bytes. Whatever it cannot read it accepts; user space has the last word.

use core::ptr::{addr_of, read_volatile};

use trace_ebpf::flags;

use crate::maps::Slot;

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// Whether the segment just opened may belong to a packet that is asked for.
///
/// # Safety
/// `slot` is this CPU's, its head and packet bytes are filled.
#[inline(always)]
pub unsafe fn accepts(slot: *const Slot) -> bool {
    // SAFETY: all offsets are constants below PACKET_BYTES, or masked.
    unsafe {
        let byte = |at: usize| read_volatile(addr_of!((*slot).body).cast::<u8>().add(at));
        let word =
            |at: usize| read_volatile(addr_of!((*slot).body).cast::<u8>().add(at).cast::<u32>());
        let ethertype = u32::from((*slot).head.protocol);
        if config!(filter_ethertype) != 0 && ethertype != config!(filter_ethertype) {
            return false;
        }
        if (*slot).head.flags & flags::PACKET == 0 || (*slot).head.flags & flags::UNREADABLE != 0 {
            return true;
        }
        let (protocol, l4, fragment) = match ethertype {
            IPV4 => {
                let fragment = (byte(6) & 0x1f) != 0 || byte(7) != 0;
                (u32::from(byte(9)), usize::from(byte(0) & 15) * 4, fragment)
            }
            IPV6 => (u32::from(byte(6)), 40, false),
            _ => return true,
        };
        let host = config!(filter_host_len);
        if host != 0 {
            let first = if ethertype == IPV4 { 12 } else { 8 };
            let size = if ethertype == IPV4 { 4 } else { 16 };
            if host != size {
                return false;
            }
            let wanted = config!(filter_host);
            let want = |at: usize| {
                u32::from_ne_bytes([wanted[at], wanted[at + 1], wanted[at + 2], wanted[at + 3]])
            };
            let same = |from: usize| {
                word(from) == want(0)
                    && (size == 4
                        || (word(from + 4) == want(4)
                            && word(from + 8) == want(8)
                            && word(from + 12) == want(12)))
            };
            if !same(first) && !same(first + size as usize) {
                return false;
            }
        }
        // an extension header hides the protocol; ICMP errors speak about other packets' ports
        let plain = matches!(protocol, 6 | 17 | 1 | 58 | 132 | 136);
        if config!(filter_protocol) != 0 && plain && protocol != config!(filter_protocol) {
            return false;
        }
        if config!(filter_port) != 0 && plain && !fragment {
            if !matches!(protocol, 6 | 17 | 132 | 136) {
                return false;
            }
            let ports = word(l4 & 63 & !3);
            let source = u32::from(u16::from_be(ports as u16));
            let destination = u32::from(u16::from_be((ports >> 16) as u16));
            if l4 <= 60 && source != config!(filter_port) && destination != config!(filter_port) {
                return false;
            }
        }
        true
    }
}
