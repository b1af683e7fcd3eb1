//! The wire format: what the eBPF programs write and user space reads, byte for byte.
//!
//! Everything the kernel side sends is a *record* in a BPF ring buffer, one ring for each CPU. A record
//! opens with its [`Kind`] (one byte) and its length, so that a reader can check and skip it. All numbers are in the
//! machine's byte order (little endian on every target we support) except where they are copied from
//! a packet.
//!
//! | kind | layout | when |
//! |---|---|---|
//! | [`Kind::Segment`] | [`SegmentHead`], [`PACKET_BYTES`] of the packet, less those [cut](SegmentHead::cut), if [`flags::PACKET`], then [`Entry`]s | a packet was handed over, ended, or its slot was needed |
//! | [`Kind::Drop`] | [`DropHead`], then [`MAX_STACK`] × u64, of which `depth` are return addresses | right after the segment whose last stamp is [`Hook::Drop`] |
//! | [`Kind::Socket`] | [`SocketEvent`] | a `send()` on a TCP socket that did not send all that it wrote, a `recv()` unless [`Tag::Returned`] or [`Tag::Received`] told of it, a retransmission |
//! | [`Kind::Poll`] | [`PollEvent`] | a NAPI poll that brought at least one packet ended, unless [`Tag::PollEnd`] told of it |
//! | [`Kind::Device`] | [`DeviceName`] | a network device was seen for the first time on this CPU |
//! | [`Kind::Process`] | [`ProcessName`] | a process was seen for the first time on this CPU |
#![no_std]

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "pktjourney is for 64-bit, little-endian Linux: addresses are eight bytes, and records are in the machine's byte order"
);

pub mod sample;

/// Changes whenever a byte of any record changes its meaning. Recordings carry it.
///
/// 2: [`Tag::PollEnd`]; up to 40 entries. 3: [`Tag::Returned`]; [`SegmentHead::cut`]. 4: [`Tag::Received`]; no more
/// [`SocketOp::ReceiveEnd`]. 5: [`SocketOp::DatagramAt`], [`SocketOp::DatagramBefore`].
pub const WIRE_VERSION: u32 = 5;
/// Records of this version mean today what they meant then.
pub const OLDEST_WIRE_VERSION: u32 = 1;

/// Bytes copied from the packet, from its network header on: an IPv6 header, a TCP header and 4 more.
pub const PACKET_BYTES: usize = 64;
/// Entries a slot can hold after the packet bytes. A TCP packet over veth makes 25 where all hooks are attached.
pub const MAX_ENTRIES: usize = 40;
/// Slots each CPU keeps; a power of two.
pub const SLOTS_PER_CPU: u32 = 16;
/// Return addresses kept of a drop's kernel stack.
pub const MAX_STACK: usize = 24;
/// Bytes of a device or process name (the kernel's IFNAMSIZ and TASK_COMM_LEN).
pub const NAME_BYTES: usize = 16;
/// CPUs whose rings fit into the outer map.
pub const MAX_CPUS: u32 = 512;

/// First byte of every record.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(
    missing_docs,
    reason = "the table in the crate's documentation says what each is"
)]
pub enum Kind {
    Segment = 1,
    Drop = 2,
    Socket = 3,
    Poll = 4,
    Device = 5,
    Process = 6,
}

/// Bits of [`SegmentHead::flags`].
pub mod flags {
    /// [`PACKET_BYTES`](super::PACKET_BYTES) of the packet follow the head.
    pub const PACKET: u8 = 1;
    /// Written by a hook that interrupted so many others on its CPU that no slots were free: one stamp.
    pub const NESTED: u8 = 2;
    /// The slot was needed for another packet, or filled up, before the packet was handed over.
    pub const EVICTED: u8 = 4;
    /// `skb->cloned` was set when the segment was opened: another sk_buff shares [`head`](super::SegmentHead::head).
    pub const CLONED: u8 = 8;
    /// The packet bytes could not be read, or fewer than the headers were linear; they are zero.
    pub const UNREADABLE: u8 = 16;
}

/// Every place in the kernel where a packet is stamped. The number is the wire's; names and stages
/// live in user space (`probe::catalogue`, `journey::stage`).
///
/// `a` and `b` are the entry's two small fields.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// Hardware interrupt handler entered; `b` is the interrupt number.
    Interrupt = 1,
    /// `softirq_raise(NET_RX)`: NAPI was scheduled.
    NapiSchedule = 2,
    /// `softirq_entry(NET_RX)`.
    Softirq = 3,
    /// The NAPI poll began that brought the packet; a [`Tag::Poll`] entry follows.
    Poll = 4,
    /// `napi_gro_receive` (or `_frags`) was entered: the driver has built the sk_buff.
    Gro = 5,
    /// `napi_gro_receive` returned; `a` is its `gro_result_t`.
    GroDone = 6,
    /// `netif_rx`: put on a per-CPU backlog (loopback, veth, RPS).
    Backlog = 7,
    /// `netif_receive_skb`: the protocol-independent receive path.
    Receive = 8,
    /// `tcf_classify`: a tc filter chain is run (ingress, or egress on the way out).
    Classify = 9,
    /// `bpf_prog_run_generic_xdp`.
    XdpGeneric = 10,
    /// `ip_rcv_core` / `ip6_rcv_core` (or `ip_rcv` / `ipv6_rcv`).
    Ip = 11,
    /// A netfilter hook was entered; `a` is the hook number ([`nf`]), `b` the protocol family.
    NfEnter = 12,
    /// A netfilter hook was left; `a` is the hook number, `b` is 1 when the packet goes on.
    NfLeave = 13,
    /// `ip_local_deliver` / `ip6_input`.
    Deliver = 14,
    /// `ip_forward` / `ip6_forward`.
    Forward = 15,
    /// `tcp_v4_rcv`, `tcp_v6_rcv`, `udp_rcv`, `udpv6_rcv`, `icmp_rcv`, `icmpv6_rcv`.
    Transport = 16,
    /// `tcp_v4_rcv` / `tcp_v6_rcv` returned.
    TransportDone = 17,
    /// `tcp_probe`: an established TCP socket takes the packet; the segment's `sk` is that socket.
    TcpSocket = 18,
    /// `tcp_add_backlog`: the socket was busy; the segment's `sk` is that socket.
    TcpBacklog = 19,
    /// `sk_data_ready` (or `sock_def_readable`): queued on the socket, which the segment's `sk` names.
    Queued = 20,
    /// `sched_waking` inside `sk_data_ready`: a reader is woken; a [`Tag::Pid`] entry follows.
    Wakeup = 21,
    /// `skb_copy_datagram_iovec`: a reader copies the packet; a [`Tag::Pid`] entry follows.
    Copy = 22,
    /// `consume_skb`: freed after use.
    Consume = 23,
    /// `kfree_skb`: dropped; a [`Kind::Drop`] record follows the segment.
    Drop = 24,
    /// `udp_sendmsg`, `tcp_sendmsg`, …: a process entered `send()`; a [`Tag::Pid`] entry follows.
    Send = 25,
    /// The data is copied into an sk_buff.
    SocketWrite = 26,
    /// `__tcp_transmit_skb`.
    TcpTransmit = 27,
    /// `__ip_local_out`, `__ip6_local_out`, `ip6_xmit`.
    IpOutput = 28,
    /// `ip_finish_output2` / `ip6_finish_output2`: neighbour look-up.
    Neighbour = 29,
    /// `__dev_queue_xmit` (`net_dev_queue`).
    DevQueue = 30,
    /// `qdisc_enqueue`.
    QdiscEnqueue = 31,
    /// `qdisc_dequeue`.
    QdiscDequeue = 32,
    /// `net_dev_start_xmit`: given to the driver.
    StartXmit = 33,
    /// `net_dev_xmit`: the driver returned; `b` is its return code.
    XmitDone = 34,
}

impl Hook {
    /// The highest number in use.
    pub const LAST: u8 = Self::XmitDone as u8;
}

/// Netfilter's hook numbers (`enum nf_inet_hooks`).
#[allow(missing_docs, reason = "the kernel's own names")]
pub mod nf {
    pub const PRE_ROUTING: u8 = 0;
    pub const LOCAL_IN: u8 = 1;
    pub const FORWARD: u8 = 2;
    pub const LOCAL_OUT: u8 = 3;
    pub const POST_ROUTING: u8 = 4;
}

/// What an [`Entry`] with `tag >= 128` carries. Facts apply from their place in the segment on; the head
/// carries those of the beginning.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    /// `value` is the interface index the packet is now on.
    Device = 128,
    /// `value` is the inode number of the network namespace the packet is now in.
    Netns = 129,
    /// `value` is a thread id: of the sender, the woken reader or the reader, as the stamp before says.
    Pid = 130,
    /// `value` is the poll's number on this CPU ([`PollEvent::number`]).
    Poll = 131,
    /// The poll that the entries before tell of ended `value` ns after `t0`: `a` packets handled, `b` allowed. It was the
    /// backlog's, and has no [`PollEvent`].
    PollEnd = 132,
    /// The `recv()` that copied the datagram returned `value` ns after `t0`. It has no [`SocketEvent`].
    Returned = 133,
    /// A `recv()` on the segment's socket returned `value` ns after `t0`: what would else be a [`SocketEvent`]. Of a datagram
    /// socket a [`SocketOp::Datagram`], of whichever packet; of TCP a [`SocketOp::Receive`], which had begun [`Entry::before`] ns
    /// earlier to copy all that this packet has, and no more. A [`Tag::Receiver`] follows.
    Received = 134,
    /// `value` is the thread id of the `recv()` before.
    Receiver = 135,
}

/// One stamp (`tag` < 128: a [`Hook`]; `value` = ns since [`SegmentHead::t0`]) or one fact (a [`Tag`]).
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Entry {
    /// ns since `t0`, or the fact.
    pub value: u32,
    /// A [`Hook`] or a [`Tag`].
    pub tag: u8,
    /// Depends on the tag.
    pub a: u8,
    /// Depends on the tag.
    pub b: u16,
}

impl Entry {
    /// Longest time that [`before`](Self::before) tells, ns.
    pub const LONGEST_BEFORE: u64 = 0xff_ffff;

    /// The two small fields that say a time before that of the entry, ns, in 24 bits.
    pub const fn small_of(before: u64) -> (u8, u16) {
        (before as u8, (before >> 8) as u16)
    }

    /// What [`small_of`](Self::small_of) put there.
    pub const fn before(&self) -> u64 {
        (self.b as u64) << 8 | self.a as u64
    }
}

/// The fixed part of a segment.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SegmentHead {
    /// [`Kind::Segment`].
    pub kind: u8,
    /// See [`flags`].
    pub flags: u8,
    /// The whole record's length in bytes.
    pub bytes: u16,
    /// CPU of every stamp in the segment.
    pub cpu: u16,
    /// `skb->protocol`: an ethertype, in host byte order.
    pub protocol: u16,
    /// Address of the sk_buff: the packet's identity while it lives.
    pub skb: u64,
    /// CLOCK_MONOTONIC of the segment's first stamp, ns.
    pub t0: u64,
    /// `skb->head`: clones share it.
    pub head: u64,
    /// The socket: of the sender on the way out, of the receiver once known; 0 when none was seen.
    pub sk: u64,
    /// `skb->len` at the first stamp, bytes.
    pub len: u32,
    /// Inode number of the network namespace of `skb->dev`, or of the socket where there is no device yet.
    pub netns: u32,
    /// Interface index of `skb->dev`; 0 when it has none yet.
    pub ifindex: u32,
    /// So many of the [`PACKET_BYTES`] are not there, for they lie behind the headers: a multiple of an [`Entry`]'s size.
    pub cut: u32,
}

/// A drop, and who asked for it.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DropHead {
    /// [`Kind::Drop`].
    pub kind: u8,
    /// How many of the [`MAX_STACK`] words that follow are return addresses, innermost first.
    pub depth: u8,
    /// The whole record's length in bytes.
    pub bytes: u16,
    /// CPU it happened on.
    pub cpu: u16,
    /// `skb->protocol`, host byte order.
    pub protocol: u16,
    /// Address of the sk_buff.
    pub skb: u64,
    /// CLOCK_MONOTONIC, ns.
    pub time: u64,
    /// Address of the code that called for the drop (`kfree_skb`'s `location`).
    pub location: u64,
    /// `enum skb_drop_reason`, or a subsystem's; [`DropHead::NO_REASON`] before Linux 5.17.
    pub reason: u32,
    /// 1 when another sk_buff still shares the data (`skb_shared_info.dataref` > 1).
    pub shared: u32,
}

impl DropHead {
    /// The kernel gives no reasons.
    pub const NO_REASON: u32 = u32::MAX;
}

/// What a [`SocketEvent`] tells.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketOp {
    /// `send()`: `start` entered, `end` returned; the bytes are `seq .. seq + len`.
    Send = 1,
    /// `recv()` copied the bytes `seq .. seq + len`, beginning at `start`; `end` is when `recv()`
    /// returned, or 0 when more copies of the same call follow.
    Receive = 2,
    /// Until wire version 3, where a call's last copy had an `end` of 0 if others came before: it returned at `end`.
    ReceiveEnd = 3,
    /// The segment beginning at `seq` was retransmitted at `start`.
    Retransmit = 4,
    /// `recv()` on a datagram socket returned `len` bytes at `end`: the oldest packet in its queue.
    Datagram = 5,
    /// The same, but it was the packet whose sk_buff's address is `start`.
    DatagramAt = 6,
    /// The same, but it was the packet before the one whose sk_buff's address is `start`, which is the oldest now; 0: none is
    /// left.
    DatagramBefore = 7,
}

/// A system call on a socket; on TCP sockets by sequence range.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SocketEvent {
    /// [`Kind::Socket`].
    pub kind: u8,
    /// A [`SocketOp`].
    pub op: u8,
    /// The whole record's length in bytes.
    pub bytes: u16,
    /// CPU of the call's end.
    pub cpu: u16,
    /// Reserved, zero.
    pub spare: u16,
    /// CLOCK_MONOTONIC, ns; or an address, as the operation says.
    pub start: u64,
    /// CLOCK_MONOTONIC, ns; 0 when not known (yet).
    pub end: u64,
    /// The socket.
    pub sk: u64,
    /// First sequence number.
    pub seq: u32,
    /// Bytes.
    pub len: u32,
    /// Thread id of the caller.
    pub pid: u32,
    /// Reserved, zero.
    pub spare2: u32,
}

/// One NAPI poll.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PollEvent {
    /// [`Kind::Poll`].
    pub kind: u8,
    /// Reserved, zero.
    pub spare: u8,
    /// The whole record's length in bytes.
    pub bytes: u16,
    /// CPU it ran on.
    pub cpu: u16,
    /// Interrupt number that scheduled it, or [`PollEvent::NO_INTERRUPT`].
    pub irq: u16,
    /// Number of the poll on this CPU, counted from 1; joins [`Tag::Poll`].
    pub number: u32,
    /// Interface index of the NAPI's device; 0 for the backlog.
    pub ifindex: u32,
    /// CLOCK_MONOTONIC, ns: `__napi_poll`, or softirq entry or the end of the poll before.
    pub start: u64,
    /// CLOCK_MONOTONIC, ns: `napi_poll`.
    pub end: u64,
    /// Packets the poll said it handled.
    pub work: u32,
    /// Packets it was allowed.
    pub budget: u32,
    /// The NET_RX softirq that ran it began, CLOCK_MONOTONIC ns; 0 when it ran outside of one.
    pub softirq: u64,
}

impl PollEvent {
    /// No hardware interrupt scheduled the poll (loopback, veth), or which one is not known.
    pub const NO_INTERRUPT: u16 = u16::MAX;
}

/// Name of an interface.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DeviceName {
    /// [`Kind::Device`].
    pub kind: u8,
    /// Reserved, zero.
    pub spare: u8,
    /// The whole record's length in bytes.
    pub bytes: u16,
    /// Interface index.
    pub ifindex: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Reserved, zero.
    pub spare2: u32,
    /// Padded with NUL.
    pub name: [u8; NAME_BYTES],
}

/// Name of a process.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ProcessName {
    /// [`Kind::Process`].
    pub kind: u8,
    /// Reserved, zero.
    pub spare: u8,
    /// The whole record's length in bytes.
    pub bytes: u16,
    /// Thread id.
    pub pid: u32,
    /// Process (thread group) id.
    pub tgid: u32,
    /// Reserved, zero.
    pub spare2: u32,
    /// Padded with NUL.
    pub name: [u8; NAME_BYTES],
}

const _: () = {
    assert!(size_of::<Entry>() == 8);
    assert!(size_of::<SegmentHead>() == 56);
    assert!(size_of::<DropHead>() == 40);
    assert!(size_of::<SocketEvent>() == 48);
    assert!(size_of::<PollEvent>() == 48);
    assert!(size_of::<DeviceName>() == 32);
    assert!(size_of::<ProcessName>() == 32);
};

/// What each CPU counts, so that nothing is lost without a trace: index into the `COUNTERS` map.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// Segments opened, without those that turned out to be left out ([`LeftOut`](Self::LeftOut)): each is sent, lost or refused
    /// by the filter, or still in its slot.
    SegmentsOpened = 0,
    /// Segments written to the ring.
    SegmentsSent = 1,
    /// Segments the ring had no room for.
    SegmentsLost = 2,
    /// … of which first parts of a packet: nothing else may be known of it.
    BirthsLost = 3,
    /// Other records (socket, poll, drop, names) the ring had no room for.
    RecordsLost = 4,
    /// Segments pushed out of their slot by another packet, or full.
    SegmentsEvicted = 5,
    /// Stamps taken by a hook that interrupted so many others that no slots were free.
    Nested = 6,
    /// Segments that the filter refused.
    Filtered = 7,
    /// Never counted; recordings have a place for it.
    SegmentsForeign = 8,
    /// Calls of hooks of which nothing was noted: by the programs, where all of a CPU's states were in use; user space adds
    /// those for which the kernel did not run our program, since it would have interrupted itself.
    Missed = 9,
    /// Segments that were not opened, since their flow is not in the sample.
    LeftOut = 10,
    /// Nanoseconds in the programs since the session's start. This and those that follow are user space's own, with a budget
    /// only, and change once a period.
    ProgramsNs = 11,
    /// Nanoseconds of CPU time that the process took since then.
    OwnNs = 12,
    /// No count: when these two were read, CLOCK_MONOTONIC, ns.
    SpentAt = 13,
    /// No count: one flow in so many is followed from then on.
    OneIn = 14,
}

/// Number of [`Counter`]s.
pub const COUNTERS: u32 = 15;

/// Byte offsets of kernel structure members, found by user space in the running kernel's BTF and
/// put into read-only data before loading, so that the verifier sees constants.
///
/// [`Offsets::ABSENT`] stands for "this kernel has no such member". Each field's doc is the member.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offsets {
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `sk_buff.sk`
    pub skb_sk: u32,
    /// `sk_buff.len`
    pub skb_len: u32,
    /// `sk_buff.data_len`
    pub skb_data_len: u32,
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.data`
    pub skb_data: u32,
    /// `sk_buff.end`
    pub skb_end: u32,
    /// `sk_buff.network_header`
    pub skb_network_header: u32,
    /// `sk_buff.protocol`
    pub skb_protocol: u32,
    /// `sk_buff.cb`
    pub skb_cb: u32,
    /// Byte that holds the bit field `sk_buff.cloned`
    pub skb_cloned: u32,
    /// Its shift inside that byte
    pub skb_cloned_shift: u32,
    /// `skb_shared_info.dataref`
    pub shinfo_dataref: u32,
    /// `net_device.ifindex`
    pub dev_ifindex: u32,
    /// `net_device.name`
    pub dev_name: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `sock.__sk_common.skc_family`
    pub sk_family: u32,
    /// `sock.__sk_common.skc_num`
    pub sk_num: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sk_net: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// `tcp_sock.copied_seq`
    pub tcp_copied_seq: u32,
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_skb_cb.seq`, from the beginning of `sk_buff.cb`
    pub tcp_cb_seq: u32,
    /// `nf_hook_state.hook`
    pub nf_hook: u32,
    /// `nf_hook_state.pf`
    pub nf_pf: u32,
    /// `napi_struct.dev`
    pub napi_dev: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `sock.sk_receive_queue`
    pub sk_receive_queue: u32,
    /// `udp_sock.reader_queue`
    pub udp_reader_queue: u32,
    /// Bytes of an sk_buff that hold all its members above that a segment's beginning asks for; at most [`SKB_SPAN`].
    pub skb_span: u32,
}

/// Room for those bytes.
pub const SKB_SPAN: usize = 256;

impl Offsets {
    /// The running kernel has no such member.
    pub const ABSENT: u32 = u32::MAX;
    /// Nothing resolved.
    pub const NONE: Self = Self {
        skb_dev: Self::ABSENT,
        skb_sk: Self::ABSENT,
        skb_len: Self::ABSENT,
        skb_data_len: Self::ABSENT,
        skb_head: Self::ABSENT,
        skb_data: Self::ABSENT,
        skb_end: Self::ABSENT,
        skb_network_header: Self::ABSENT,
        skb_protocol: Self::ABSENT,
        skb_cb: Self::ABSENT,
        skb_cloned: Self::ABSENT,
        skb_cloned_shift: Self::ABSENT,
        shinfo_dataref: Self::ABSENT,
        dev_ifindex: Self::ABSENT,
        dev_name: Self::ABSENT,
        dev_net: Self::ABSENT,
        net_inum: Self::ABSENT,
        sk_family: Self::ABSENT,
        sk_num: Self::ABSENT,
        sk_net: Self::ABSENT,
        sk_protocol: Self::ABSENT,
        tcp_copied_seq: Self::ABSENT,
        tcp_write_seq: Self::ABSENT,
        tcp_cb_seq: Self::ABSENT,
        nf_hook: Self::ABSENT,
        nf_pf: Self::ABSENT,
        napi_dev: Self::ABSENT,
        task_pid: Self::ABSENT,
        socket_sk: Self::ABSENT,
        sk_receive_queue: Self::ABSENT,
        udp_reader_queue: Self::ABSENT,
        skb_span: 0,
    };
}

/// What user space asks of the programs; read-only data, like [`Offsets`].
///
/// The packet filter is a *necessary* condition only (a field of 0 asks nothing): the exact
/// expression is evaluated in user space, on whole journeys.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// 1: the filter below is in force.
    pub filter: u32,
    /// Ethertype asked for.
    pub filter_ethertype: u32,
    /// IP protocol asked for.
    pub filter_protocol: u32,
    /// Port asked for (source or destination), host byte order.
    pub filter_port: u32,
    /// Length of the host address asked for (source or destination): 0, 4 or 16 bytes.
    pub filter_host_len: u32,
    /// The address, first `filter_host_len` bytes, network byte order.
    pub filter_host: [u8; 16],
    /// 1: `kfree_skb` gives a reason (5.17+).
    pub kfree_has_reason: u32,
    /// 1: `__skb_recv_udp` has an argument `noblock` (before 5.18).
    pub recv_udp_noblock: u32,
    /// 1: take kernel stacks of drops.
    pub stacks: u32,
    /// Size of each ring.
    pub ring_bytes: u32,
    /// 1: functions are called with aarch64's registers, else with x86_64's (kprobes).
    pub aarch64: u32,
    /// 1: nothing is attached at drivers; what a device of ours passes on may come next.
    pub unseen_drivers: u32,
    /// 1: only flows whose [`sample::flow`] is not above the number in the map `SAMPLE_LIMIT` are followed.
    pub sample: u32,
    /// 1: the floor's programs leave out the clock, too.
    pub floor_idles: u32,
}

/// Places for sockets of flows that are followed, in a sample: a byte each.
pub const FOLLOWED_SOCKETS: usize = 1 << 16;

/// What the kernel side knows of a datagram socket's queue.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Reading {
    /// The socket.
    pub sk: u64,
    /// The sk_buff that the next `recv()` takes; 0 = not known, or none.
    pub next: u64,
    /// 1: user space was told of all that is in the queue.
    pub clean: u64,
}

/// Sockets of which that is kept.
pub const READINGS_KEPT: usize = 4096;

/// Where the program that counts polls finds what it reads; offsets in bytes, filled by user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PollOffsets {
    /// `napi_struct.dev`
    pub napi_dev: u32,
    /// `net_device.ifindex`
    pub dev_ifindex: u32,
    /// `net_device.name`
    pub dev_name: u32,
    /// `net_device.nd_net.net`, or [`Offsets::ABSENT`]
    pub dev_net: u32,
    /// `net.ns.inum`, or [`Offsets::ABSENT`]
    pub net_inum: u32,
}

/// A device that is polled; all zero is the CPUs' backlog.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PollKey {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its index there.
    pub ifindex: u32,
}

/// What one CPU counted of a device's polls.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PollCount {
    /// Polls that have ended.
    pub polls: u64,
    /// Packets that they handled.
    pub packets: u64,
    /// Polls that handled as many as they were allowed to.
    pub full: u64,
    /// The device's name, ended by a zero.
    pub name: [u8; 16],
}

/// Devices whose polls are counted; polls of more are counted together.
pub const POLLED_DEVICES: u32 = 1024;

// SAFETY: plain numbers, `repr(C)`, no padding (all fields are u32 or multiples of four bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Offsets {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PollOffsets {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PollKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Reading {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PollCount {}
