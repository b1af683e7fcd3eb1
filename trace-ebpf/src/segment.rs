//! The write-combining at the heart of the kernel side: each CPU keeps a few direct-mapped slots, and a
//! hook that finds its packet in one writes eight bytes. A slot is sent when its packet ends or when the slot is
//! needed, or by [`sweep`]; so a packet costs one or two ring records instead of a dozen.
//!
//! Two programs never write the same slot at the same time: a program that finds [`Cpu::busy`] set has interrupted another
//! one, or preempted its thread, and takes the slots of the next level; on the last one it sends its stamp by itself ([`nested`]).

use core::{
    ffi::c_void,
    ptr::{addr_of, addr_of_mut, read_volatile, write_volatile},
};

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel};
use trace_ebpf::{
    Counter, Entry, Hook, MAX_ENTRIES, PACKET_BYTES, SLOTS_PER_CPU, SegmentHead, Tag, flags,
};

use crate::{
    chosen::follow,
    maps::{BODY, Cpu, Slot, count, send},
    memory::{Memory, Pointer},
    reading::soil,
};

mod nested;
mod notes;
mod open;
mod sweep;

pub use nested::nested;
pub use notes::{
    copied, end_poll, end_read, holds, name_process, queued_on, take_read, tell_received, thread,
};
use notes::{note_device, note_poll, note_sender};
use open::{AT_DATA, SAME, WITHOUT_PACKET, open, read_again, readable};
pub use open::{read_queued, unread};
pub use sweep::sweep;

/// Where a packet is. An *opening* hook seen in a phase that cannot precede it means that the address
/// was freed where no hook sees it (`__kfree_skb`), or on another CPU, and given to another packet.
pub mod phase {
    use super::bit;

    /// Just built or on a backlog.
    pub const EARLY: u8 = 1;
    /// Receive path up to the routing decision.
    pub const RECEIVE: u8 = 2;
    /// Being forwarded.
    pub const FORWARD: u8 = 3;
    /// IP output of a packet of ours.
    pub const OUTPUT: u8 = 4;
    /// Between POSTROUTING and the driver.
    pub const TRANSMIT: u8 = 5;
    /// In the driver.
    pub const DRIVER: u8 = 6;
    /// Local delivery. From here on the packet may be read and freed on any CPU, and this one is not told.
    pub const LOCAL: u8 = 7;
    /// With its socket.
    pub const SOCKET: u8 = 8;
    /// Taken out of its socket's queue.
    pub const TAKEN: u8 = 9;
    /// Copied to its reader.
    pub const COPIED: u8 = 10;

    /// Phases after which a packet can be given to a device. Not local delivery: that was another life.
    pub const ON_THE_WAY: u16 = bit(LOCAL) - bit(EARLY);
    /// Phases after which a socket can be found for a packet that came in: each is found once.
    pub const UNCLAIMED: u16 = bit(EARLY) | bit(RECEIVE) | bit(LOCAL);
    /// Phases after which it can be taken out of a queue, and copied: once each.
    pub const UNTAKEN: u16 = UNCLAIMED | bit(SOCKET);
    pub const UNCOPIED: u16 = UNTAKEN | bit(TAKEN);
}

/// What a stamp does besides being taken.
#[derive(Clone, Copy)]
pub struct Stamp {
    /// Which hook.
    pub hook: Hook,
    /// Phase from here on; 0 leaves it.
    pub phase: u8,
    /// Bit per phase after which this hook can follow in the same life; 0 = any.
    pub after: u16,
    /// May begin a segment: the packet's fields can be read.
    pub opens: bool,
    /// The network header is at `skb->data` (receive path, before the IP layer).
    pub at_data: bool,
    /// Look whether the packet is on another device now.
    pub device: bool,
    /// Note the NAPI poll that brought the packet.
    pub poll: bool,
    /// The packet was handed over.
    pub hands: bool,
    /// The packet ends here: send at once.
    pub ends: bool,
    /// May be the first that is seen of a packet of ours: look for the `send()` it comes from.
    pub sender: bool,
    /// Packets of any protocol; else IPv4 and IPv6 only.
    pub any: bool,
    /// A packet that was handed over does not come by here again: what comes is another one, or
    /// the same one anew. Its own segment either way; user space looks at the headers.
    pub anew: bool,
    /// Comes after a hand-over: a packet that was not handed over by what is in the slot is another one.
    pub takes: bool,
    /// Read the headers again if they could not be read before: a driver may leave them in a page, until each layer pulls its
    /// own out (`ip_rcv_core`, `udp_rcv`).
    pub again: bool,
    /// May be what a device of ours was given, where nothing is attached at drivers: its headers decide.
    pub given: bool,
    /// Comes so late that the address may be another packet's by now: look whether it still has the same data.
    pub late: bool,
}

impl Stamp {
    /// A hook on the way.
    pub const fn at(hook: Hook, phase: u8) -> Self {
        Self {
            hook,
            phase,
            after: 0,
            opens: true,
            at_data: false,
            device: false,
            poll: false,
            hands: false,
            ends: false,
            sender: false,
            any: false,
            anew: false,
            takes: false,
            again: false,
            given: false,
            late: false,
        }
    }
}

/// The bit of a phase in [`Stamp::after`].
pub const fn bit(phase: u8) -> u16 {
    1 << phase
}

/// Entry fields besides the time.
#[derive(Clone, Copy, Default)]
pub struct Detail {
    pub a: u8,
    pub b: u16,
    /// Thread id to note behind the stamp; 0 = none.
    pub pid: u32,
    /// The socket that now has the packet; null = leave.
    pub sk: u64,
}

/// The clock all stamps come from (CLOCK_MONOTONIC).
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// A pointer's value as a number.
///
/// # Safety
/// `cpu` is this CPU's state, and its busy flag is ours.
#[inline(always)]
pub unsafe fn number(cpu: *mut Cpu, pointer: *const c_void) -> u64 {
    // SAFETY: as promised by the caller.
    unsafe {
        write_volatile(addr_of_mut!((*cpu).number).cast(), pointer);
        read_volatile(addr_of!((*cpu).number))
    }
}

#[inline(always)]
unsafe fn slot_of(cpu: *mut Cpu, key: u64) -> *mut Slot {
    // SAFETY: as promised.
    unsafe { slot_at(cpu, place_of(key)) }
}

/// The number of the slot that a packet has.
#[inline(always)]
fn place_of(key: u64) -> u64 {
    (key >> 8) ^ (key >> 12)
}

#[inline(always)]
unsafe fn slot_at(cpu: *mut Cpu, place: u64) -> *mut Slot {
    let place = place & u64::from(SLOTS_PER_CPU - 1);
    // SAFETY: the mask keeps the number inside the array.
    unsafe {
        addr_of_mut!((*cpu).slots)
            .cast::<Slot>()
            .add(place as usize)
    }
}

/// Where a packet is, as far as this CPU knows; 0 = not here.
///
/// # Safety
/// As for [`number`].
#[inline(always)]
pub unsafe fn phase_of(cpu: *mut Cpu, key: u64) -> u8 {
    // SAFETY: as promised.
    unsafe {
        let slot = slot_of(cpu, key);
        if (*slot).head.skb == key {
            (*slot).phase
        } else {
            0
        }
    }
}

/// The slot that holds the packet, or null; null too when the filter refused the packet.
///
/// # Safety
/// As for [`number`].
#[inline(always)]
pub unsafe fn slot_for(cpu: *mut Cpu, key: u64) -> *mut Slot {
    // SAFETY: as promised.
    unsafe {
        let slot = slot_of(cpu, key);
        if (*slot).head.skb == key && (*slot).ignored == 0 {
            slot
        } else {
            core::ptr::null_mut()
        }
    }
}

/// Appends an entry. There is always room: [`stamp`] makes sure of [`MARGIN`] before it begins.
#[inline(always)]
unsafe fn push(slot: *mut Slot, value: u32, tag: u8, a: u8, b: u16) {
    // SAFETY: the mask keeps the write inside the body, whatever `end` is.
    unsafe {
        let end = read_volatile(addr_of!((*slot).end));
        let at = (end & (BODY as u32 - 8)) as usize;
        let word =
            u64::from(value) | u64::from(tag) << 32 | u64::from(a) << 40 | u64::from(b) << 48;
        write_volatile(
            addr_of_mut!((*slot).body)
                .cast::<u8>()
                .add(at)
                .cast::<u64>(),
            word,
        );
        write_volatile(addr_of_mut!((*slot).end), end + 8);
    }
}

/// The most entries that one stamp adds (four of a poll, its number, device, namespace, stamp, pid).
const MARGIN: u32 = 10 * size_of::<Entry>() as u32;
const FULL: u32 = (PACKET_BYTES + MAX_ENTRIES * size_of::<Entry>()) as u32 - MARGIN;
/// A stamp's time is 32 bits of ns behind the segment's first.
const LONGEST: u64 = 4_000_000_000;

/// Whether a segment takes one more stamp, at this time.
#[inline(always)]
unsafe fn has_room(slot: *const Slot, time: u64) -> bool {
    // SAFETY: the slot is ours.
    unsafe { (*slot).end <= FULL && time - (*slot).head.t0 <= LONGEST }
}

/// Set in a slot's key: its packet has ended at this address, which another one may have by now. What is left to be told is when
/// the `recv()` returns that copied it.
const ENDED: u64 = 1;

/// Sends a slot and frees it.
#[inline(never)]
unsafe fn flush(slot: *mut Slot) {
    // SAFETY: the slot is ours; what is sent is bounded by the mask.
    unsafe {
        let end = read_volatile(addr_of!((*slot).end)) & (BODY as u32 - 1);
        let bytes = size_of::<SegmentHead>() as u32 + end;
        (*slot).head.bytes = bytes as u16;
        (*slot).head.skb &= !ENDED;
        if send(slot.cast(), u64::from(bytes)) {
            count(Counter::SegmentsSent);
        } else {
            count(Counter::SegmentsLost);
            soil((*slot).head.sk);
            if (*slot).head.flags & flags::PACKET != 0 {
                count(Counter::BirthsLost);
            }
        }
        (*slot).head.skb = 0;
    }
}

/// Takes a stamp. The caller holds the CPU's busy flag.
///
/// # Safety
/// `cpu` is this CPU's state; `skb` is live if `what.opens`, else used as a key only.
#[inline(always)]
pub unsafe fn stamp<M: Memory>(
    cpu: *mut Cpu,
    skb: *const c_void,
    what: Stamp,
    detail: Detail,
) -> *mut Slot {
    // SAFETY: see each call.
    unsafe { stamp_key::<M>(cpu, skb, number(cpu, skb), what, detail) }
}

/// [`stamp`], with the packet's address as a number too.
///
/// # Safety
/// As for [`stamp`].
#[inline(always)]
pub unsafe fn stamp_key<M: Memory>(
    cpu: *mut Cpu,
    skb: *const c_void,
    key: u64,
    what: Stamp,
    detail: Detail,
) -> *mut Slot {
    // SAFETY: the slot is this CPU's and the busy flag is ours, so nobody else writes it.
    unsafe {
        let slot = slot_of(cpu, key);
        let mut fresh = (*slot).head.skb != key;
        if fresh && !what.opens {
            return core::ptr::null_mut();
        }
        if !fresh {
            let known = (*slot).phase;
            let handed = (*slot).handed != 0;
            let mut again =
                what.anew && handed || what.takes && !handed || what.sender && (*cpu).output == key;
            if what.sender && what.opens && matches!(known, phase::EARLY | phase::RECEIVE) {
                // what was received and goes out again (bridge) belongs to no socket
                again |= !M::load::<Pointer>(skb, offset!(skb_sk)).0.is_null();
            }
            if what.late && known >= phase::LOCAL {
                // Read packets are freed where no hook sees it (`skb_attempt_defer_free`, `__kfree_skb`).
                let buffer = number(cpu, M::load::<Pointer>(skb, offset!(skb_head)).0);
                again |= buffer != (*slot).head.head;
            }
            let mut other = what.after != 0 && known != 0 && what.after >> (known & 15) & 1 == 0;
            if what.given && config!(unseen_drivers) != 0 && known == phase::TRANSMIT {
                other = !same::<M>(cpu, slot, skb);
            }
            if again || other {
                // the address has got a new life, or is on its way again: a segment of its own
                if (*slot).ignored == 0 {
                    flush(slot);
                }
                fresh = true;
            } else if (*slot).ignored != 0 {
                if what.ends || what.hands {
                    // where it comes out again, another packet may come at its address
                    (*slot).head.skb = 0;
                } else if what.phase != 0 {
                    (*slot).phase = what.phase;
                }
                return core::ptr::null_mut();
            }
        }
        // the one reading of the clock
        let time = now();
        if !fresh && !has_room(slot, time) {
            (*slot).head.flags |= flags::EVICTED;
            flush(slot);
            fresh = true;
        }
        if fresh {
            if !what.opens {
                return core::ptr::null_mut();
            }
            if !what.any && !is_ip(M::load::<u16>(skb, offset!(skb_protocol))) {
                return core::ptr::null_mut();
            }
            // still another packet's?
            if (*slot).head.skb != 0 && (*slot).ignored == 0 {
                if (*slot).handed == 0 {
                    (*slot).head.flags |= flags::EVICTED;
                    count(Counter::SegmentsEvicted);
                }
                flush(slot);
            }
            (*slot).last = time;
            let mut how = 0;
            if what.at_data {
                how |= AT_DATA;
            }
            if what.ends
                && what.hook as u8 == Hook::Consume as u8
                && config!(filter) == 0
                && config!(sample) == 0
            {
                how |= WITHOUT_PACKET;
            }
            if open::<M>(cpu, slot, skb, key, how) != 0 {
                if what.sender && (*cpu).output == key {
                    (*cpu).output = 0; // else its next hook would take it for a new packet again
                }
                if what.phase != 0 {
                    (*slot).phase = what.phase;
                }
                if what.ends || what.hands {
                    (*slot).head.skb = 0;
                }
                return core::ptr::null_mut();
            }
        }
        if what.sender && fresh {
            note_sender::<M>(cpu, slot, key);
        }
        if what.again && !fresh && unread(slot) {
            let mut how = if what.at_data { AT_DATA } else { 0 };
            if what.late {
                how |= SAME;
            }
            if read_again::<M>(cpu, slot, skb, how) != 0 {
                return core::ptr::null_mut();
            }
        }
        if what.device && !fresh {
            note_device::<M>(cpu, slot, skb);
        }
        if what.poll && (fresh || (*slot).polled == 0) {
            note_poll(slot, fresh);
        }
        push(
            slot,
            (time - (*slot).head.t0) as u32,
            what.hook as u8,
            detail.a,
            detail.b,
        );
        if detail.pid != 0 {
            push(slot, detail.pid, Tag::Pid as u8, 0, 0);
        }
        if detail.sk != 0 {
            (*slot).head.sk = detail.sk;
        }
        follow((*slot).head.sk);
        (*slot).last = time;
        if what.phase != 0 {
            (*slot).phase = what.phase;
        }
        (*slot).handed = u8::from(what.hands);
        if what.ends {
            let read = what.hook as u8 == Hook::Consume as u8 && (*cpu).read == key;
            // another packet may have got the address before the reader's `recv()` returned: that one is not read
            if read && matches!((*slot).phase, phase::TAKEN | phase::COPIED) {
                (*slot).head.skb = key | ENDED;
                (*slot).handed = 1;
            } else {
                flush(slot);
            }
        }
        slot
    }
}

/// Whether a packet that arrives (its network header is at `skb->data`) is the one in the slot, and not another one at its
/// address: the same buffer, and the same first bytes. Those hold the sender's address at least, and what is sent and what
/// comes in from elsewhere do not have that in common.
#[inline(always)]
unsafe fn same<M: Memory>(cpu: *mut Cpu, slot: *const Slot, skb: *const c_void) -> bool {
    // SAFETY: `skb` is live; the helper checks the address; offsets are below PACKET_BYTES.
    unsafe {
        let buffer = number(cpu, M::load::<Pointer>(skb, offset!(skb_head)).0);
        if !readable(slot) || buffer != (*slot).head.head {
            return false;
        }
        let mut bytes = [0_u64; 4];
        let data = M::load::<Pointer>(skb, offset!(skb_data)).0;
        let size = size_of_val(&bytes) as u32;
        if bpf_probe_read_kernel((&raw mut bytes).cast(), size, data) != 0 {
            return false;
        }
        let known = addr_of!((*slot).body).cast::<u64>();
        bytes[0] == read_volatile(known)
            && bytes[1] == read_volatile(known.add(1))
            && bytes[2] == read_volatile(known.add(2))
            && bytes[3] == read_volatile(known.add(3))
    }
}

/// What was read as `skb->dev`, if it is a device: UDP keeps its own numbers in that place while a packet is queued on a socket.
#[inline(always)]
unsafe fn device(cpu: *mut Cpu, said: *const c_void) -> *const c_void {
    // SAFETY: the pointer is looked at as a number before anyone follows it.
    unsafe {
        // Kernel addresses begin with ones: eight at least, where page tables have five levels.
        if number(cpu, said) >> 56 == 0xff {
            said
        } else {
            core::ptr::null()
        }
    }
}

/// `skb->protocol`, as it lies in memory, is IPv4 or IPv6.
#[inline(always)]
fn is_ip(protocol: u16) -> bool {
    protocol == 0x0800_u16.to_be() || protocol == 0x86dd_u16.to_be()
}
