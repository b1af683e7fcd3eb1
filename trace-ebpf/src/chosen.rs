//! `--sample`: which flows are followed. The hash itself is [`trace_ebpf::sample`]'s.

use core::ptr::{addr_of, read_volatile, write_volatile};

use aya_ebpf::{macros::map, maps::Array};
use trace_ebpf::{PACKET_BYTES, sample};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Sockets of flows that are followed, by their address's hash: calls on others are not told of. Two sockets that share a
/// place are told of both. A byte each: no CPU can undo another one's.
const SOCKETS: usize = 1 << 16;
#[map]
static FOLLOWED: Array<[u8; SOCKETS]> = Array::with_max_entries(1, 0);

/// Whether the packet whose first bytes these are belongs to a flow that is followed. What is no IP is of no flow.
///
/// # Safety
/// [`PACKET_BYTES`] can be read at `packet`.
#[inline(always)]
pub unsafe fn chosen(ethertype: u16, packet: *const u8) -> bool {
    // SAFETY: constant offsets below PACKET_BYTES, or masked.
    unsafe {
        let byte = |at: usize| read_volatile(packet.add(at));
        let word = |at: usize| read_volatile(packet.add(at).cast::<u32>());
        let (protocol, l4, fragment, from, words) = match ethertype {
            IPV4 => {
                let fragment = (byte(6) & 0x3f) != 0 || byte(7) != 0;
                (byte(9), usize::from(byte(0) & 15) * 4, fragment, 12, 1)
            }
            IPV6 => (byte(6), 40, false, 8, 4),
            _ => return false,
        };
        // no part of a datagram in pieces is asked for its ports: only the first one has them
        let mut ports = 0;
        if matches!(protocol, 6 | 17 | 132 | 136) && !fragment {
            ports = word(l4 & (PACKET_BYTES - 4));
        }
        let address = |at: usize| {
            if words == 1 {
                [word(at), 0, 0, 0]
            } else {
                [word(at), word(at + 4), word(at + 8), word(at + 12)]
            }
        };
        let source = u16::from_be(ports as u16);
        let destination = u16::from_be((ports >> 16) as u16);
        let one = sample::end(address(from), words, source);
        let other = sample::end(address(from + 4 * words), words, destination);
        sample::flow(protocol, one, other) < config!(sample)
    }
}

#[inline(always)]
fn place(socket: u64) -> usize {
    ((socket >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & (SOCKETS - 1)
}

/// The socket has a packet that is followed.
#[inline(always)]
pub fn follow(socket: u64) {
    if config!(sample) != 0
        && socket != 0
        && let Some(followed) = FOLLOWED.get_ptr_mut(0)
    {
        // SAFETY: the mask keeps the index inside.
        unsafe { write_volatile(followed.cast::<u8>().add(place(socket)), 1) }
    }
}

/// Whether calls on the socket are told of.
#[inline(always)]
pub fn followed(socket: u64) -> bool {
    if config!(sample) == 0 {
        return true;
    }
    let Some(followed) = FOLLOWED.get_ptr(0) else {
        return false;
    };
    // SAFETY: as above.
    unsafe { read_volatile(addr_of!(*followed).cast::<u8>().add(place(socket))) != 0 }
}
