//! The write-combining at the heart of the kernel side: each CPU keeps a few direct-mapped slots, and a
//! hook that finds its packet in one writes eight bytes. A slot is sent when its packet ends or when the slot is
//! needed, or by [`sweep`]; so a packet costs one or two ring records instead of a dozen.
//!
//! Two programs never write the same slot at the same time: a program that finds [`Cpu::busy`] set has
//! interrupted another one and sends its stamp by itself ([`nested`]).

use core::{
    ffi::c_void,
    ptr::{addr_of, addr_of_mut, read_volatile, write_volatile},
};

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel};
use trace_ebpf::{
    Counter, DeviceName, Entry, Hook, Kind, MAX_ENTRIES, NAME_BYTES, PACKET_BYTES, ProcessName,
    SLOTS_PER_CPU, SegmentHead, Tag, flags,
};

use crate::{
    filter,
    maps::{BODY, Cpu, Slot, caller, count, send, this_cpu},
    memory::Memory,
};

/// Where a packet is. An *opening* hook seen in a phase that cannot precede it means that the address
/// was freed where no hook sees it (`__kfree_skb`), and given to another packet.
pub mod phase {
    /// Just built or on a backlog.
    pub const EARLY: u8 = 1;
    /// Receive path up to the routing decision.
    pub const RECEIVE: u8 = 2;
    /// Local delivery.
    pub const LOCAL: u8 = 3;
    /// Being forwarded.
    pub const FORWARD: u8 = 4;
    /// IP output of a packet of ours.
    pub const OUTPUT: u8 = 5;
    /// Between POSTROUTING and the driver.
    pub const TRANSMIT: u8 = 6;
    /// In the driver.
    pub const DRIVER: u8 = 7;
}

/// What a stamp does besides being taken.
#[derive(Clone, Copy)]
pub struct Stamp {
    /// Which hook.
    pub hook: Hook,
    /// Phase from here on; 0 leaves it.
    pub phase: u8,
    /// Bit per phase after which this hook can follow in the same life; 0 = any.
    pub after: u8,
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
    /// Read the headers again if they could not be read before.
    pub again: bool,
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
            again: false,
            late: false,
        }
    }
}

/// The bit of a phase in [`Stamp::after`].
pub const fn bit(phase: u8) -> u8 {
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
    let index = ((key >> 8) ^ (key >> 12)) & u64::from(SLOTS_PER_CPU - 1);
    // SAFETY: the mask keeps the index inside the array.
    unsafe {
        addr_of_mut!((*cpu).slots)
            .cast::<Slot>()
            .add(index as usize)
    }
}

/// The slot that holds the packet, or null.
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

/// Sends a slot and frees it.
#[inline(never)]
unsafe fn flush(slot: *mut Slot) {
    // SAFETY: the slot is ours; what is sent is bounded by the mask.
    unsafe {
        let end = read_volatile(addr_of!((*slot).end)) & (BODY as u32 - 1);
        let bytes = size_of::<SegmentHead>() as u32 + end;
        (*slot).head.bytes = bytes as u16;
        if send(slot.cast(), u64::from(bytes)) {
            count(Counter::SegmentsSent);
        } else {
            count(Counter::SegmentsLost);
            if (*slot).head.flags & flags::PACKET != 0 {
                count(Counter::BirthsLost);
            }
        }
        (*slot).head.skb = 0;
    }
}

/// Fills the head of a new segment, and copies the packet's first bytes.
#[inline(never)]
unsafe fn open<M: Memory>(
    cpu: *mut Cpu,
    slot: *mut Slot,
    skb: *const c_void,
    key: u64,
    how: u32,
) -> u32 {
    // SAFETY: `skb` is a live sk_buff that the hook was given; all reads are checked by the verifier or a helper.
    unsafe {
        let time = now();
        let head = addr_of_mut!((*slot).head);
        let device: *const c_void = M::load::<Pointer>(skb, offset!(skb_dev)).0;
        let sk: *const c_void = M::load::<Pointer>(skb, offset!(skb_sk)).0;
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
        let protocol = u16::from_be(M::load::<u16>(skb, offset!(skb_protocol)));
        let length = M::load::<u32>(skb, offset!(skb_len));
        let cloned = M::load::<u8>(skb, offset!(skb_cloned)) >> (offset!(skb_cloned_shift) & 7) & 1;
        let mut flag = if cloned != 0 { flags::CLONED } else { 0 };
        let buffer = number(cpu, M::load::<Pointer>(skb, offset!(skb_head)).0);
        let bytes = how & WITHOUT_PACKET == 0;
        if bytes {
            flag |= flags::PACKET;
            if !read_packet::<M>(cpu, slot, skb, buffer, how & AT_DATA != 0) {
                flag |= flags::UNREADABLE;
            }
        }
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
            spare: 0,
        };
        (*slot).end = if bytes { PACKET_BYTES as u32 } else { 0 };
        (*slot).ifindex = ifindex;
        (*slot).netns = netns;
        (*slot).polled = 0;
        (*slot).handed = 0;
        (*slot).phase = 0;
        (*slot).last = time;
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

/// Copies the packet's first bytes, from its network header on; false when the header is not in the
/// linear part (yet): a driver may leave it in a page until GRO or the IP layer pulls it.
#[inline(always)]
unsafe fn read_packet<M: Memory>(
    cpu: *mut Cpu,
    slot: *mut Slot,
    skb: *const c_void,
    buffer: u64,
    at_data: bool,
) -> bool {
    // SAFETY: as in `open`.
    unsafe {
        let data = number(cpu, M::load::<Pointer>(skb, offset!(skb_data)).0);
        let network = if at_data {
            data
        } else {
            buffer + u64::from(M::load::<u16>(skb, offset!(skb_network_header)))
        };
        let length = M::load::<u32>(skb, offset!(skb_len));
        let linear = data + u64::from(length - M::load::<u32>(skb, offset!(skb_data_len)));
        let failed = bpf_probe_read_kernel(
            addr_of_mut!((*slot).body).cast(),
            PACKET_BYTES as u32,
            network as *const c_void,
        );
        failed == 0 && network + 20 <= linear
    }
}

const AT_DATA: u32 = 1;
const WITHOUT_PACKET: u32 = 2;

/// A pointer read from kernel memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Pointer(pub *const c_void);
impl Default for Pointer {
    fn default() -> Self {
        Self(core::ptr::null())
    }
}

/// Tells user space the name of a device, once per device and CPU.
#[inline(always)]
unsafe fn name_device<M: Memory>(cpu: *mut Cpu, device: *const c_void, ifindex: u32, netns: u32) {
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
unsafe fn note_device<M: Memory>(cpu: *mut Cpu, slot: *mut Slot, skb: *const c_void) {
    // SAFETY: as in `open`.
    unsafe {
        let device = M::load::<Pointer>(skb, offset!(skb_dev)).0;
        if device.is_null() {
            return;
        }
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

/// Notes the interrupt, softirq and poll that brought the packet, with their own times.
#[inline(always)]
unsafe fn note_poll(cpu: *mut Cpu, slot: *mut Slot, fresh: bool) {
    // SAFETY: plain reads and writes of this CPU's state.
    unsafe {
        (*slot).polled = 1;
        let poll = (*cpu).poll_start;
        if poll == 0 {
            return;
        }
        let first = (*cpu).first_poll != 0;
        let (irq, raise, softirq) = if first {
            (
                (*cpu).cause_irq_time,
                (*cpu).cause_time,
                (*cpu).softirq_time,
            )
        } else {
            (0, 0, 0)
        };
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
        if irq != 0 && irq >= from {
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
            push(slot, (softirq - t0) as u32, Hook::Softirq as u8, 0, 0);
        }
        if poll >= from {
            push(slot, (poll - t0) as u32, Hook::Poll as u8, 0, 0);
        }
        push(slot, (*cpu).poll_number, Tag::Poll as u8, 0, 0);
        (*cpu).poll_used = 1;
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
        if !fresh {
            let known = (*slot).phase;
            let mut again = what.anew && (*slot).handed != 0 || what.sender && (*cpu).output == key;
            if what.sender && what.opens && matches!(known, phase::EARLY | phase::RECEIVE) {
                // what was received and goes out again (bridge) belongs to no socket
                again |= !M::load::<Pointer>(skb, offset!(skb_sk)).0.is_null();
            }
            if what.late && known == phase::LOCAL {
                // Read packets are freed where no hook sees it (`skb_attempt_defer_free`, `__kfree_skb`).
                let buffer = number(cpu, M::load::<Pointer>(skb, offset!(skb_head)).0);
                again |= buffer != (*slot).head.head;
            }
            if again || what.after != 0 && known != 0 && what.after >> (known & 7) & 1 == 0 {
                // the address has got a new life, or is on its way again: a segment of its own
                if (*slot).ignored == 0 {
                    flush(slot);
                }
                fresh = true;
            } else if (*slot).ignored != 0 {
                if what.ends {
                    (*slot).head.skb = 0;
                }
                return core::ptr::null_mut();
            } else if (*slot).end > FULL || now() - (*slot).head.t0 > LONGEST {
                (*slot).head.flags |= flags::EVICTED;
                flush(slot);
                fresh = true;
            }
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
        }
        if fresh {
            let mut how = 0;
            if what.at_data {
                how |= AT_DATA;
            }
            if what.ends && what.hook as u8 == Hook::Consume as u8 && config!(filter) == 0 {
                how |= WITHOUT_PACKET;
            }
            if open::<M>(cpu, slot, skb, key, how) != 0 {
                if what.phase != 0 {
                    (*slot).phase = what.phase;
                }
                if what.ends {
                    (*slot).head.skb = 0;
                }
                return core::ptr::null_mut();
            }
        }
        let time = if fresh { (*slot).last } else { now() };
        if what.sender && fresh {
            note_sender(cpu, slot, key);
        }
        let unread = (*slot).head.flags & (flags::PACKET | flags::UNREADABLE);
        if what.again && unread == flags::PACKET | flags::UNREADABLE && !fresh {
            let buffer = (*slot).head.head;
            if read_packet::<M>(cpu, slot, skb, buffer, what.at_data) {
                (*slot).head.flags &= !flags::UNREADABLE;
            }
        }
        if what.device && !fresh {
            note_device::<M>(cpu, slot, skb);
        }
        if what.poll && (fresh || (*slot).polled == 0) {
            note_poll(cpu, slot, fresh);
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
        (*slot).last = time;
        if what.phase != 0 {
            (*slot).phase = what.phase;
        }
        (*slot).handed = u8::from(what.hands);
        if what.ends {
            flush(slot);
        }
        slot
    }
}

/// `skb->protocol`, as it lies in memory, is IPv4 or IPv6.
#[inline(always)]
fn is_ip(protocol: u16) -> bool {
    protocol == 0x0800_u16.to_be() || protocol == 0x86dd_u16.to_be()
}

/// Puts what happened inside `send()` before the packet's own first stamp.
#[inline(never)]
unsafe fn note_sender(cpu: *mut Cpu, slot: *mut Slot, key: u64) -> u32 {
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
        let (mut send, mut write, mut known) = (0, 0, false);
        if pid != 0
            && let Some(caller) = caller(pid)
        {
            known = sk != 0 && (*caller).pid == pid && (*caller).sk == sk;
            if known {
                send = (*caller).start;
                write = (*caller).write;
            }
        }
        let recent = |at: u64| at != 0 && at <= time && time - at < LONGEST / 2;
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
        if known {
            name_process(cpu, pid);
        }
        0
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
        let record = ProcessName {
            kind: Kind::Process as u8,
            bytes: size_of::<ProcessName>() as u16,
            pid,
            tgid: (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32,
            name: aya_ebpf::helpers::bpf_get_current_comm().unwrap_or_default(),
            ..Default::default()
        };
        if send((&raw const record).cast(), size_of::<ProcessName>() as u64) {
            write_volatile(place, pid);
        } else {
            count(Counter::RecordsLost);
        }
        0
    }
}

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
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: reads as in `open`; the poll's fields are written by its own softirq only.
    unsafe {
        count(Counter::Nested);
        let time = now();
        let mut alone = Alone {
            head: SegmentHead::default(),
            entries: [NOTHING; 7],
        };
        let mut t0 = time;
        let start = (*cpu).poll_start;
        if poll && start != 0 && time - start < LONGEST / 4 {
            let (mut irq, mut raise, mut softirq) = (0, 0, 0);
            if (*cpu).first_poll != 0 {
                irq = (*cpu).cause_irq_time;
                raise = (*cpu).cause_time;
                softirq = (*cpu).softirq_time;
            }
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
        }
    }
}

/// Sends the slots that nobody has touched for `idle` ns, and those that were opened `age` ns ago, so that
/// user space knows how long it has to wait for them. Run on each CPU by user space (`BPF_PROG_TEST_RUN`), many
/// times a second while there is traffic. False when it interrupted a hook, and could do nothing.
pub fn sweep(idle: u64, age: u64) -> bool {
    let Some(cpu) = this_cpu() else { return false };
    // SAFETY: the busy flag keeps others out; the index is bounded by the loop.
    unsafe {
        if read_volatile(addr_of!((*cpu).busy)) != 0 {
            return false;
        }
        write_volatile(addr_of_mut!((*cpu).busy), 1);
        let time = now();
        for index in 0..SLOTS_PER_CPU as usize {
            let slot = addr_of_mut!((*cpu).slots).cast::<Slot>().add(index);
            let held = (*slot).head.skb != 0;
            if held && (time - (*slot).last >= idle || time - (*slot).head.t0 >= age) {
                if (*slot).ignored == 0 {
                    flush(slot);
                } else {
                    (*slot).head.skb = 0;
                }
            }
        }
        write_volatile(addr_of_mut!((*cpu).busy), 0);
        true
    }
}
