//! All state the programs keep: one structure a CPU, one array of callers, the counters and the rings.

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::{
    btf_maps::{ArrayOfMaps, RingBuf},
    macros::{btf_map, map},
    maps::{Array, PerCpuArray},
};
use trace_ebpf::{
    COUNTERS as COUNTER_COUNT, Config, Counter, MAX_CPUS, Offsets, PACKET_BYTES, SKB_SPAN,
    SLOTS_PER_CPU, SegmentHead,
};

/// Where the kernel keeps what we read; filled by the loader.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::NONE;

/// What user space asks for; filled by the loader.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config {
    filter: 0,
    filter_ethertype: 0,
    filter_protocol: 0,
    filter_port: 0,
    filter_host_len: 0,
    filter_host: [0; 16],
    kfree_has_reason: 0,
    recv_udp_noblock: 0,
    stacks: 0,
    ring_bytes: 0,
    aarch64: 0,
    unseen_drivers: 0,
    sample: 0,
    floor_idles: 0,
};

/// Volatile, so that the compiler does not fold the initial value in.
#[inline(always)]
pub fn constant<T: Copy>(field: *const T) -> T {
    // SAFETY: only called by `offset!` and `config!`, with the address of a field of a static.
    unsafe { read_volatile(field) }
}

/// `offset!(skb_len)`: a member's offset; a constant to the verifier.
macro_rules! offset {
    ($field:ident) => {
        crate::maps::constant(&raw const crate::maps::OFFSETS.$field) as usize
    };
}
/// `config!(stacks)`.
macro_rules! config {
    ($field:ident) => {
        crate::maps::constant(&raw const crate::maps::CONFIG.$field)
    };
}

/// Room for a slot's packet bytes and entries. A power of two, so that a mask bounds every write.
pub const BODY: usize = 512;

/// One packet's segment while it is being written. The first [`size_of::<SegmentHead>`] + `end` bytes
/// are sent.
#[repr(C)]
pub struct Slot {
    pub head: SegmentHead,
    pub body: [u8; BODY],
    /// Time of the latest stamp.
    pub last: u64,
    /// Bytes of `body` in use.
    pub end: u32,
    /// Where the packet is now; a [`crate::segment::phase`].
    pub phase: u8,
    /// The packet is refused by the filter: remember that, write nothing.
    pub ignored: u8,
    /// A poll was noted for this leg.
    pub polled: u8,
    /// The packet was handed over; pushing it out now loses nothing.
    pub handed: u8,
    pub ifindex: u32,
    pub netns: u32,
    /// The device these two were read from.
    pub device: u64,
}

/// A CPU's slots, and what it is doing, so that the next packet's segment can say it. There are [`LEVELS`] of them; facts of
/// the CPU (interrupt, softirq, poll, wake-up) are those of the lowest, [`facts`].
#[repr(C)]
pub struct Cpu {
    /// A program is at work here: what interrupts it, or runs while its thread has lost the CPU, takes the next level.
    pub busy: u32,
    /// Entries of `hooks` in use.
    pub depth: u32,
    /// A pointer is written here and read back as a number (the verifier allows no arithmetic on pointers).
    pub number: u64,
    /// The interrupt being handled, 0 outside of one.
    pub irq_time: u64,
    /// When NAPI was scheduled, since the last NET_RX softirq; 0 when it was not.
    pub raise_time: u64,
    /// Start of the interrupt that scheduled it, 0 when it was none.
    pub raise_irq_time: u64,
    /// The same two of the poll that runs now; until it is known which, of its softirq.
    pub cause_time: u64,
    pub cause_irq_time: u64,
    /// Start of the softirq that the poll waited for; 0 when it ran before the poll was scheduled.
    pub cause_softirq: u64,
    /// Start of the NET_RX softirq, 0 outside of one.
    pub softirq_time: u64,
    /// Start of the poll.
    pub poll_start: u64,
    pub poll_number: u32,
    pub irq: u16,
    pub raise_irq: u16,
    pub cause_irq: u16,
    /// No poll has ended yet in this softirq.
    pub first_poll: u8,
    /// The poll brought a packet that we follow.
    pub poll_used: u8,
    /// The next `softirq_raise` belongs to a NAPI whose scheduling was noted by itself.
    pub announced: u8,
    /// Polls announce themselves here (`poll_begin` is attached).
    pub begins: u8,
    pub pad: u16,
    /// As `number`, for hooks that do not take the busy flag.
    pub napi: u64,
    /// The packet that a receive hook saw last, and the one that `sk_data_ready` was called for just now.
    pub receiving: u64,
    pub waking: u64,
    pub waking_time: u64,
    /// The packet inside `napi_gro_receive`.
    pub gro: u64,
    /// The packet whose end a tracepoint told of, until it is freed a moment later.
    pub freed: u64,
    /// The packet that entered IP output and has no header yet, and since when.
    pub output: u64,
    pub output_time: u64,
    /// The socket inside `__tcp_transmit_skb`, and since when.
    pub tcp_sk: u64,
    pub tcp_time: u64,
    /// kretprobe only: the packet inside `tcp_v4_rcv` or a sister. They do not interrupt each other.
    pub inside: u64,
    /// kretprobe only: the packets inside `nf_hook_slow`, innermost last.
    pub calls: [Call; 8],
    /// Devices and processes whose names were sent: direct-mapped.
    pub devices: [u64; 64],
    pub processes: [u32; 128],
    /// The one packet whose segment tells all of this poll, 0 when there are more; the softirq and the interrupt it names.
    pub poll_key: u64,
    pub poll_softirq: u64,
    pub poll_irq: u16,
    pub pad2: [u16; 3],
    /// The datagram that was copied last here: its reader is about to return from `recv()`.
    pub read: u64,
    /// The packet that was queued on a socket last here.
    pub queued: u64,
    /// The sk_buff that is being looked at, copied where each look at itself would be a call of a helper.
    pub skb: [u64; SKB_SPAN / 8],
    /// When which interrupt came last: direct-mapped by its number.
    pub vectors: [Vector; VECTORS],
    pub slots: [Slot; SLOTS_PER_CPU as usize],
}

/// Interrupts remembered for each CPU.
pub const VECTORS: usize = 32;

/// An interrupt, and when it came last.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Vector {
    pub time: u64,
    pub irq: u64,
}

/// A function entered, whose return is awaited.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    pub skb: u64,
    pub pid: u32,
    pub hook: u32,
}

/// A thread inside `send()` or `recv()` on a socket: direct-mapped by thread id.
#[repr(C)]
pub struct Caller {
    pub sk: u64,
    /// `send()` entered; 0 where that is not probed.
    pub start: u64,
    /// The data began to be copied into sk_buffs.
    pub write: u64,
    /// First piece copied by `recv()` that was not sent up yet.
    pub copy: u64,
    pub copy_seq: u32,
    pub copy_len: u32,
    pub seq: u32,
    /// Bytes from `seq` to here were sent inside of this `send()`, and their packets have told it.
    pub sent: u32,
    pub pid: u32,
    /// The socket is a TCP socket: 1.
    pub tcp: u32,
    /// The thread that copied the datagram `read`, and has not returned from its `recv()`; 0 = none. Who else shares this place
    /// may use the rest.
    pub reader: u32,
    pub read: u64,
}

/// Who scheduled a NAPI: direct-mapped by its address.
#[repr(C)]
pub struct Scheduled {
    pub napi: u64,
    /// When; 0 once a poll has taken it.
    pub time: u64,
    /// Start of the interrupt, 0 when it was none.
    pub irq_time: u64,
    /// When its last poll began.
    pub polled: u64,
    pub cpu: u32,
    pub irq: u16,
    /// The last interrupt that scheduled it.
    pub vector: u16,
}

/// Hooks that can be at work on one CPU at the same time: a thread's, one that preempted it (fentry programs are
/// preemptible), a softirq's.
pub const LEVELS: u32 = 3;

/// NAPIs remembered at the same time; of two that share a place the older one's interrupt is forgotten.
pub const NAPIS: u32 = 1024;

/// Callers remembered at the same time; two threads that share a place lose the older one's times.
pub const CALLERS: u32 = 8192;

#[map]
static CPU: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(LEVELS, 0);
#[map]
static CALLS: Array<Caller> = Array::with_max_entries(CALLERS, 0);
#[map]
static SCHEDULED: Array<Scheduled> = Array::with_max_entries(NAPIS, 0);
#[map]
static COUNTERS: PerCpuArray<[u64; COUNTER_COUNT as usize]> = PerCpuArray::with_max_entries(1, 0);
/// What the floor's programs keep.
#[map]
static FLOOR: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// Only the outer map's shape counts; the loader makes the rings, of the size asked for.
#[btf_map]
static RINGS: ArrayOfMaps<RingBuf<[u64; 8], 4096>, { MAX_CPUS as usize }> = ArrayOfMaps::new();

/// What this CPU is doing. Written where nothing comes between, or nothing that matters.
#[inline(always)]
pub fn facts() -> Option<*mut Cpu> {
    CPU.get_ptr_mut(0)
}

#[inline(always)]
pub fn floor() -> Option<*mut u64> {
    FLOOR.get_ptr_mut(0)
}

/// A state of this CPU, for this program alone until [`release`]; none if all of them are in use.
#[inline(always)]
pub fn claim() -> Option<*mut Cpu> {
    if let Some(cpu) = claim_level(0) {
        return Some(cpu);
    }
    let cpu = claim_above();
    if cpu.is_null() { None } else { Some(cpu) }
}

#[inline(never)]
fn claim_above() -> *mut Cpu {
    for level in 1..LEVELS {
        if let Some(cpu) = claim_level(level) {
            return cpu;
        }
    }
    core::ptr::null_mut()
}

/// The state of one level, if it is free.
#[inline(always)]
pub fn claim_level(level: u32) -> Option<*mut Cpu> {
    let cpu = CPU.get_ptr_mut(level)?;
    // SAFETY: the state is this CPU's own, and programs stay on theirs.
    unsafe {
        if read_volatile(addr_of!((*cpu).busy)) != 0 {
            return None;
        }
        write_volatile(addr_of_mut!((*cpu).busy), 1);
    }
    Some(cpu)
}

/// What [`claim`] gave is given back.
#[inline(always)]
pub fn release(cpu: *mut Cpu) {
    // SAFETY: the state is this CPU's own.
    unsafe { write_volatile(addr_of_mut!((*cpu).busy), 0) }
}

#[inline(always)]
pub fn caller(pid: u32) -> Option<*mut Caller> {
    CALLS.get_ptr_mut(pid & (CALLERS - 1))
}

/// The place of the NAPI at this address.
#[inline(always)]
pub fn scheduled(napi: u64) -> Option<*mut Scheduled> {
    SCHEDULED.get_ptr_mut((spread(napi) >> 32) as u32 & (NAPIS - 1))
}

/// The bits of a structure's address, spread over the upper ones: for tables that are direct-mapped by it.
#[inline(always)]
pub const fn spread(address: u64) -> u64 {
    (address >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline(always)]
pub fn count(what: Counter) {
    change(what, 1);
}

/// Takes back one [`count`].
#[inline(always)]
pub fn uncount(what: Counter) {
    change(what, u64::MAX);
}

#[inline(always)]
fn change(what: Counter, by: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: `what` is below COUNTERS; the value is this CPU's own.
        unsafe {
            let counter = addr_of_mut!((*counters)[what as usize]);
            *counter = (*counter).wrapping_add(by);
        }
    }
}

/// Copies `bytes` bytes to this CPU's ring, without waking the reader.
#[inline(always)]
pub fn send(data: *const u8, bytes: u64) -> bool {
    const NO_WAKEUP: u64 = 1;
    const FORCE_WAKEUP: u64 = 2;
    const AVAILABLE: u64 = 0;
    // SAFETY: plain helper calls; the verifier checks `data` and `bytes`.
    unsafe {
        let cpu = aya_ebpf::helpers::bpf_get_smp_processor_id();
        let Some(ring) = RINGS.get(cpu) else {
            return false;
        };
        let ring = core::ptr::from_ref(ring).cast_mut().cast();
        let waiting = aya_ebpf::helpers::generated::bpf_ringbuf_query(ring, AVAILABLE);
        // The reader polls; it is woken only when it is late: once, as the ring passes half full.
        let half = u64::from(config!(ring_bytes) / 2);
        let late = waiting > half && waiting < half + 1024;
        let flags = if late { FORCE_WAKEUP } else { NO_WAKEUP };
        aya_ebpf::helpers::generated::bpf_ringbuf_output(ring, data.cast_mut().cast(), bytes, flags)
            == 0
    }
}

/// Room for a record of fixed size in this CPU's ring.
#[inline(always)]
pub fn reserve<T>() -> Option<*mut T> {
    // SAFETY: plain helper calls; a null pointer is none.
    unsafe {
        let ring = RINGS.get(aya_ebpf::helpers::bpf_get_smp_processor_id())?;
        let ring = core::ptr::from_ref(ring).cast_mut().cast();
        let room =
            aya_ebpf::helpers::generated::bpf_ringbuf_reserve(ring, size_of::<T>() as u64, 0);
        if room.is_null() {
            None
        } else {
            Some(room.cast())
        }
    }
}

/// Hands a reserved record over, without waking the reader.
#[inline(always)]
pub fn submit<T>(record: *mut T) {
    // SAFETY: `record` came from `reserve`.
    unsafe { aya_ebpf::helpers::generated::bpf_ringbuf_submit(record.cast(), 1) }
}

const _: () = assert!(PACKET_BYTES < BODY);
