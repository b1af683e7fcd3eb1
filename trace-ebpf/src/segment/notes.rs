//! What a segment tells besides its stamps: where the packet is, the poll that brought it, the `send()` it comes from, and
//! the names of devices and processes, once for each CPU.

use core::{
    ffi::c_void,
    ptr::{addr_of_mut, read_volatile, write_volatile},
};

use trace_ebpf::{Counter, DeviceName, Entry, Hook, Kind, NAME_BYTES, PollEvent, ProcessName, Tag};

use super::{
    ENDED, FULL, LONGEST, flush, has_room, now, number, phase, place_of, push, readable, slot_at,
    slot_for, slot_of,
};
use crate::{
    maps::{Caller, Cpu, Slot, caller, count, facts, reserve, send, submit},
    memory::{Memory, Pointer},
    packet::Packet,
};

/// Tells user space the name of a device, once per device and CPU.
#[inline(always)]
pub(super) unsafe fn name_device<M: Memory>(
    cpu: *mut Cpu,
    device: *const c_void,
    ifindex: u32,
    netns: u32,
) {
    // SAFETY: the mask keeps the index inside the cache; the name is copied by a helper.
    unsafe {
        let id = u64::from(netns) << 32 | u64::from(ifindex);
        let place = addr_of_mut!((*cpu).devices)
            .cast::<u64>()
            .add(((netns ^ ifindex) & 63) as usize);
        if read_volatile(place) == id {
            return;
        }
        let mut record = DeviceName {
            kind: Kind::Device as u8,
            bytes: size_of::<DeviceName>() as u16,
            ifindex,
            netns,
            ..Default::default()
        };
        let first = M::load::<u64>(device, offset!(dev_name));
        let second = M::load::<u64>(device, offset!(dev_name) + 8);
        record.name[..8].copy_from_slice(&first.to_ne_bytes());
        record.name[8..NAME_BYTES].copy_from_slice(&second.to_ne_bytes());
        if send((&raw const record).cast(), size_of::<DeviceName>() as u64) {
            write_volatile(place, id);
        } else {
            count(Counter::RecordsLost);
        }
    }
}

/// Notes when the packet is on another device or in another namespace than before.
#[inline(always)]
pub(super) unsafe fn note_device<M: Memory>(cpu: *mut Cpu, slot: *mut Slot, skb: *const c_void) {
    // SAFETY: as in `open`.
    unsafe {
        let device = M::load::<Pointer>(skb, offset!(skb_dev)).0;
        if device.is_null() || number(cpu, device) == (*slot).device {
            return;
        }
        write_volatile(addr_of_mut!((*slot).device).cast(), device);
        let ifindex = M::load::<u32>(device, offset!(dev_ifindex));
        let net = M::load::<Pointer>(device, offset!(dev_net)).0;
        let netns = if net.is_null() {
            0
        } else {
            M::load::<u32>(net, offset!(net_inum))
        };
        if netns != (*slot).netns {
            push(slot, netns, Tag::Netns as u8, 0, 0);
        }
        if netns != (*slot).netns || ifindex != (*slot).ifindex {
            push(slot, ifindex, Tag::Device as u8, 0, 0);
            (*slot).netns = netns;
            (*slot).ifindex = ifindex;
            name_device::<M>(cpu, device, ifindex, netns);
        }
    }
}

/// When the interrupt, the scheduling and the softirq were that brought the poll under way; 0 = none, or not its own.
#[inline(always)]
pub(super) unsafe fn causes(cpu: *const Cpu) -> (u64, u64, u64) {
    // SAFETY: plain reads of this CPU's state.
    unsafe {
        if (*cpu).first_poll == 0 {
            return (0, 0, 0);
        }
        (
            (*cpu).cause_irq_time,
            (*cpu).cause_time,
            (*cpu).cause_softirq,
        )
    }
}

/// Notes the interrupt, softirq and poll that brought the packet, with their own times.
#[inline(always)]
pub(super) unsafe fn note_poll(slot: *mut Slot, fresh: bool) {
    let Some(cpu) = facts() else { return };
    // SAFETY: plain reads and writes of this CPU's state.
    unsafe {
        (*slot).polled = 1;
        let poll = (*cpu).poll_start;
        if poll == 0 {
            return;
        }
        let (irq, raise, softirq) = causes(cpu);
        if fresh {
            // the journey begins with the earliest of them
            let mut t0 = poll;
            if softirq != 0 {
                t0 = softirq;
            }
            if raise != 0 {
                t0 = raise;
            }
            if irq != 0 {
                t0 = irq;
            }
            if (*slot).head.t0 - t0 < LONGEST {
                (*slot).head.t0 = t0;
            }
        }
        // what happened before the packet was there is not a part of its way
        let from = if fresh { (*slot).head.t0 } else { (*slot).last };
        let t0 = (*slot).head.t0;
        (*cpu).poll_key = 0;
        if poll >= from && (*cpu).poll_used == 0 {
            (*cpu).poll_key = (*slot).head.skb;
            (*cpu).poll_irq = PollEvent::NO_INTERRUPT;
            (*cpu).poll_softirq = 0;
        }
        if irq != 0 && irq >= from {
            (*cpu).poll_irq = (*cpu).cause_irq;
            push(
                slot,
                (irq - t0) as u32,
                Hook::Interrupt as u8,
                0,
                (*cpu).cause_irq,
            );
        }
        if raise != 0 && raise >= from {
            push(slot, (raise - t0) as u32, Hook::NapiSchedule as u8, 0, 0);
        }
        if softirq != 0 && softirq >= from {
            (*cpu).poll_softirq = softirq;
            push(slot, (softirq - t0) as u32, Hook::Softirq as u8, 0, 0);
        }
        if poll >= from {
            push(slot, (poll - t0) as u32, Hook::Poll as u8, 0, 0);
        }
        push(slot, (*cpu).poll_number, Tag::Poll as u8, 0, 0);
        (*cpu).poll_used = 1;
    }
}

/// The backlog's poll ended: if one packet's segment has told all else of it, and is still here, it tells this too, and saves a
/// record.
///
/// # Safety
/// As for [`number`].
#[inline(always)]
pub unsafe fn end_poll(
    facts: *const Cpu,
    cpu: *mut Cpu,
    time: u64,
    work: u64,
    budget: u64,
) -> bool {
    // SAFETY: as promised.
    unsafe {
        let key = (*facts).poll_key;
        if key == 0
            || (*facts).poll_irq != (*facts).cause_irq
            || (*facts).poll_softirq != (*facts).softirq_time
            || work > 255
            || budget > 65535
        {
            return false;
        }
        let slot = slot_for(cpu, key);
        if slot.is_null() || (*slot).polled == 0 {
            return false;
        }
        tell(slot, time, Tag::PollEnd, work as u8, budget as u16)
    }
}

/// Appends what happened at this time, if there is room.
#[inline(always)]
unsafe fn tell(slot: *mut Slot, time: u64, what: Tag, a: u8, b: u16) -> bool {
    // SAFETY: the slot is ours.
    unsafe {
        if !has_room(slot, time) {
            return false;
        }
        push(slot, (time - (*slot).head.t0) as u32, what as u8, a, b);
        true
    }
}

/// Puts what happened inside `send()` before the packet's own first stamp.
#[inline(never)]
pub(super) unsafe fn note_sender<M: Memory>(cpu: *mut Cpu, slot: *mut Slot, key: u64) -> u32 {
    // SAFETY: the slot is ours; the caller's entry is only read.
    unsafe {
        let time = (*slot).last;
        let sk = (*slot).head.sk;
        let mut output = 0;
        if (*cpu).output == key {
            output = (*cpu).output_time;
            (*cpu).output = 0;
        }
        if sk == 0 && output == 0 {
            return 0;
        }
        let mut tcp = 0;
        if sk != 0 && (*cpu).tcp_sk == sk {
            tcp = (*cpu).tcp_time;
            (*cpu).tcp_sk = 0;
        }
        let pid = thread();
        let recent = |at: u64| at != 0 && at <= time && time - at < LONGEST / 2;
        let (mut send, mut write, mut known) = (0, 0, false);
        if pid != 0
            && let Some(caller) = caller(pid)
        {
            known = sk != 0 && (*caller).pid == pid && (*caller).sk == sk;
            if known {
                send = (*caller).start;
                write = (*caller).write;
                if recent(send) || recent(write) {
                    leaves(caller, slot);
                }
            }
        }
        let mut t0 = time;
        if recent(output) {
            t0 = output;
        }
        if recent(tcp) && tcp < t0 {
            t0 = tcp;
        }
        if recent(write) && write < t0 {
            t0 = write;
        }
        if recent(send) && send < t0 {
            t0 = send;
        }
        (*slot).head.t0 = t0;
        if recent(send) {
            push(slot, (send - t0) as u32, Hook::Send as u8, 0, 0);
            push(slot, pid, Tag::Pid as u8, 0, 0);
        }
        if recent(write) {
            push(slot, (write - t0) as u32, Hook::SocketWrite as u8, 0, 0);
        }
        if recent(tcp) {
            push(slot, (tcp - t0) as u32, Hook::TcpTransmit as u8, 0, 0);
        }
        if recent(output) {
            push(slot, (output - t0) as u32, Hook::IpOutput as u8, 0, 0);
        }
        if known && !recent(send) {
            push(slot, pid, Tag::Pid as u8, 0, 0);
        }
        if known && M::NAMES {
            name_process(cpu, pid);
        }
        0
    }
}

/// A packet that leaves inside of the `send()` that wrote its bytes tells of that call itself: what all has left so needs no record
/// of the call.
#[inline(always)]
unsafe fn leaves(caller: *mut Caller, slot: *const Slot) {
    // SAFETY: the slot is ours, and its body longer than PACKET_BYTES; the entry is the running thread's.
    unsafe {
        if readable(slot)
            && let Some((seq, end)) = Packet::ip((&raw const (*slot).body).cast()).tcp_range()
            && seq == (*caller).sent
        {
            (*caller).sent = end;
        }
    }
}

/// The running thread copied the datagram in the slot: when its `recv()` returns, that is told there.
///
/// # Safety
/// As for [`number`].
#[inline(always)]
pub unsafe fn copied(cpu: *mut Cpu, slot: *const Slot, pid: u32) {
    // SAFETY: as promised; the entry is the running thread's.
    unsafe {
        let key = (*slot).head.skb;
        (*cpu).read = key;
        if let Some(caller) = caller(pid) {
            (*caller).reader = pid;
            (*caller).read = key;
        }
    }
}

/// The datagram that the thread has copied, if that was seen, by a call that returns now, wherever it runs by now; 0 = none.
#[inline(always)]
pub fn take_read(pid: u32) -> u64 {
    let Some(caller) = caller(pid) else { return 0 };
    // SAFETY: the entry is the running thread's.
    unsafe {
        if (*caller).reader != pid {
            return 0;
        }
        (*caller).reader = 0;
        (*caller).read
    }
}

/// The `recv()` that copied this datagram returned. If the segment that tells of the copy, and that it has ended, is still here,
/// it tells this too, and saves a record.
///
/// # Safety
/// As for [`number`].
#[inline(always)]
pub unsafe fn end_read(cpu: *mut Cpu, key: u64) -> bool {
    // SAFETY: as promised.
    unsafe {
        let slot = slot_of(cpu, key);
        if key == 0 || (*slot).head.skb != key | ENDED {
            return false;
        }
        if !tell(slot, now(), Tag::Returned, 0, 0) {
            return false;
        }
        flush(slot);
        true
    }
}

/// The slot of the packet that was queued on a socket last here, if it was this socket, or when it is full the next slot, if that
/// packet is queued there, too: a socket's datagrams are often read when several are there. Else null.
///
/// # Safety
/// As for [`number`].
#[inline(always)]
pub unsafe fn queued_on(cpu: *mut Cpu, sk: u64) -> *mut Slot {
    // SAFETY: as promised.
    unsafe {
        let mut key = (*cpu).queued;
        let mut slot = slot_of(cpu, key);
        if (*slot).head.skb == key && (*slot).end > FULL {
            slot = slot_at(cpu, place_of(key) + 1);
            key = (*slot).head.skb;
            (*cpu).queued = key;
        }
        let there = key != 0
            && (*slot).head.skb == key
            && (*slot).ignored == 0
            && (*slot).head.sk == sk
            && (*slot).phase >= phase::SOCKET;
        if there { slot } else { core::ptr::null_mut() }
    }
}

/// Whether these bytes of a TCP stream are what the packet in the slot has for its reader, and all of that.
///
/// # Safety
/// The slot is ours.
#[inline(always)]
pub unsafe fn holds(slot: *const Slot, seq: u32, len: u32) -> bool {
    // SAFETY: the slot's body is longer than PACKET_BYTES.
    unsafe {
        readable(slot)
            && Packet::ip((&raw const (*slot).body).cast())
                .tcp_range()
                .is_some_and(|(first, end)| first == seq && end == seq.wrapping_add(len))
    }
}

/// A `recv()` on the slot's socket, which began `before` ns earlier to copy, returned: if there is room, this is told here, and
/// saves a record.
///
/// # Safety
/// The slot is ours.
#[inline(always)]
pub unsafe fn tell_received(slot: *mut Slot, time: u64, before: u64, pid: u32) -> bool {
    // SAFETY: as promised.
    unsafe {
        let (a, b) = Entry::small_of(before);
        if before > Entry::LONGEST_BEFORE || !tell(slot, time, Tag::Received, a, b) {
            return false;
        }
        push(slot, pid, Tag::Receiver as u8, 0, 0);
        true
    }
}

/// The running thread's id; in an interrupt, that of whoever was interrupted.
#[inline(always)]
pub fn thread() -> u32 {
    aya_ebpf::helpers::bpf_get_current_pid_tgid() as u32
}

/// Tells user space the name of the running thread, once per thread and CPU.
///
/// # Safety
/// As for [`number`].
#[inline(never)]
pub unsafe fn name_process(cpu: *mut Cpu, pid: u32) -> u32 {
    // SAFETY: the mask keeps the index inside the cache.
    unsafe {
        let place = addr_of_mut!((*cpu).processes)
            .cast::<u32>()
            .add((pid & 127) as usize);
        if read_volatile(place) == pid {
            return 0;
        }
        // Not on the stack: this is the deepest call there is, and older kernels count each frame up to 32 bytes.
        let Some(record) = reserve::<ProcessName>() else {
            count(Counter::RecordsLost);
            return 0;
        };
        *record = ProcessName {
            kind: Kind::Process as u8,
            bytes: size_of::<ProcessName>() as u16,
            pid,
            tgid: (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32,
            name: aya_ebpf::helpers::bpf_get_current_comm().unwrap_or_default(),
            ..Default::default()
        };
        submit(record);
        write_volatile(place, pid);
        0
    }
}
