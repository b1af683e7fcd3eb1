//! `--sample`: which flows are followed. The hash itself is [`trace_ebpf::sample`]'s.

use core::ptr::{addr_of, read_volatile, write_volatile};

use aya_ebpf::{macros::map, maps::Array};
use trace_ebpf::{FOLLOWED_SOCKETS, sample};

use crate::{maps::spread, packet::Packet};

/// [`sample::limit`] of what is followed now. User space may change it while we are at work.
#[map]
static SAMPLE_LIMIT: Array<u32> = Array::with_max_entries(1, 0);

/// Sockets of flows that are followed, by their address's hash: calls on others are not told of. Two sockets that share a
/// place are told of both. A byte each: no CPU can undo another one's. User space clears it when it follows fewer.
#[map]
static FOLLOWED: Array<[u8; FOLLOWED_SOCKETS]> = Array::with_max_entries(1, 0);

/// Whether the packet whose first bytes these are belongs to a flow that is followed. What is no IP is of no flow.
///
/// # Safety
/// [`PACKET_BYTES`](trace_ebpf::PACKET_BYTES) can be read at `bytes`.
#[inline(always)]
pub unsafe fn chosen(ethertype: u16, bytes: *const u8) -> bool {
    // SAFETY: as promised.
    let Some(packet) = (unsafe { Packet::of(ethertype, bytes) }) else {
        return false;
    };
    // no part of a datagram in pieces is asked for its ports: only the first one has them
    let (mut source, mut destination) = (0, 0);
    if packet.has_ports() && !packet.is_part() {
        (source, destination) = packet.ports();
    }
    let (from, to) = packet.addresses();
    let words = packet.address_words();
    let one = sample::end(from, words, source);
    let other = sample::end(to, words, destination);
    let Some(limit) = SAMPLE_LIMIT.get(0) else {
        return false;
    };
    sample::flow(packet.protocol(), one, other) <= *limit
}

#[inline(always)]
fn place(socket: u64) -> usize {
    (spread(socket) >> 40) as usize & (FOLLOWED_SOCKETS - 1)
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
