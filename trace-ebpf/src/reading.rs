//! Which datagram a `recv()` took, where no hook sees that: since 6.18 a small one is copied without a tracepoint, and freed
//! without one (`udp_recvmsg`, `skb_attempt_defer_free`).
//!
//! Datagrams are read in order, and user space knows the order of those that it was told of. So "the oldest of them" is enough while
//! a socket's queue holds no others (it is *clean*). Else, for some were there before us, the filter or the sample refuses some, or
//! a record was lost, the head of the queue says it: what stood there as the `recv()` before returned was taken by this one.
//!
//! The doubt that stays: two threads that read one socket at the same moment may be taken for each other, and all of this is about
//! another CPU's queue, without its lock.

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::{macros::map, maps::Array};
use trace_ebpf::{READINGS_KEPT, Reading};

use crate::{
    maps::spread,
    memory::{Helper, Memory},
};

/// By socket, direct-mapped by address. One that is forgotten is as one that was never read; user space forgets all when it follows
/// fewer flows, for then not every `recv()` is looked at any more.
#[map]
static READINGS: Array<[Reading; READINGS_KEPT]> = Array::with_max_entries(1, 0);

/// What a `recv()` that returns now has taken; sk_buffs are named by their address.
pub enum Taken {
    /// The oldest that user space was told of.
    Oldest,
    /// This one.
    At(u64),
    /// What stood before this one; before none, if it is 0.
    Before(u64),
}

/// A `recv()` on this datagram socket returned. Asked of each one: else what stood first would be out of date.
#[inline(always)]
pub fn taken(sk: u64) -> Taken {
    let Some(reading) = reading(sk) else {
        return Taken::Before(0);
    };
    // SAFETY: the entry lives as long as the map. Each field is read and written as a whole.
    unsafe {
        let known = read_volatile(addr_of!((*reading).sk)) == sk;
        if known && read_volatile(addr_of!((*reading).clean)) != 0 {
            return Taken::Oldest;
        }
        let expected = if known {
            read_volatile(addr_of!((*reading).next))
        } else {
            0
        };
        write_volatile(addr_of_mut!((*reading).sk), sk);
        // in this order: what is queued from here on and not told of takes it back
        write_volatile(addr_of_mut!((*reading).clean), 1);
        let head = head(sk);
        if head != 0 {
            write_volatile(addr_of_mut!((*reading).clean), 0);
        }
        write_volatile(addr_of_mut!((*reading).next), head);
        if expected != 0 && expected != head {
            Taken::At(expected)
        } else {
            Taken::Before(head)
        }
    }
}

/// The socket's queue holds something that user space is not told of, or user space was not told that something has left it.
#[inline(always)]
pub fn soil(sk: u64) {
    if let Some(reading) = reading(sk) {
        // SAFETY: as in `taken`.
        unsafe {
            if read_volatile(addr_of!((*reading).sk)) == sk
                && read_volatile(addr_of!((*reading).clean)) != 0
            {
                write_volatile(addr_of_mut!((*reading).clean), 0);
                write_volatile(addr_of_mut!((*reading).next), head(sk));
            }
        }
    }
}

#[inline(always)]
fn reading(sk: u64) -> Option<*mut Reading> {
    let place = (spread(sk) >> 40) as usize & (READINGS_KEPT - 1);
    // SAFETY: the mask keeps the index inside.
    Some(unsafe { READINGS.get_ptr_mut(0)?.cast::<Reading>().add(place) })
}

/// The datagram that will be read next, 0 if there is none: of the reader's own queue, else of the one that is filled
/// (`__skb_recv_udp`).
#[inline(never)]
fn head(sk: u64) -> u64 {
    let first = |offset: usize| {
        let queue = sk + offset as u64;
        // SAFETY: the helper checks the address. `next` is the first member of a `sk_buff_head`, and itself where it is empty.
        let next = unsafe { Helper::load::<u64>(queue as *const _, 0) };
        if next == queue { 0 } else { next }
    };
    match first(offset!(udp_reader_queue)) {
        0 => first(offset!(sk_receive_queue)),
        next => next,
    }
}
