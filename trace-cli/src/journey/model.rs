//! What a journey is, once it is rebuilt: plain data, no behaviour beyond reading it.
//!
//! Times are CLOCK_MONOTONIC nanoseconds, durations nanoseconds, lengths bytes. Sinks turn these
//! types into text or JSON; nothing here knows how.

use std::{net::IpAddr, sync::Arc};

use strum::FromRepr;

use super::stage::StageName;

/// A journey's number, from 1, in the order of its first stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct JourneyId(pub u64);

/// Which way a packet (or a leg) went, seen from its network namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// From a device to a socket (or to nobody).
    Receive,
    /// From a socket to a device.
    Transmit,
    /// In by one device, out by another.
    Forward,
    /// Sent and received on this host, over lo or veth. Only a journey is a loop, never a leg.
    Loop,
}

/// How a leg, and the journey, ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Read by a process.
    Delivered,
    /// Left by a device; the driver freed it, or passed it on to the next leg.
    Sent,
    /// Came in by one device and left by another.
    Forwarded,
    /// Thrown away by the kernel: see [`Drop`].
    Dropped,
    /// Used up by the kernel itself: a pure ACK, an answered echo request, a merged or split packet.
    Consumed,
    /// Its end was not seen.
    Unfinished(Unfinished),
}

/// Why a journey's end is not known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unfinished {
    /// Nothing was heard of it for the age limit: still in a queue, or its end is not visible on this kernel.
    Aged,
    /// The limit of open journeys was reached, and it was the oldest.
    Evicted,
    /// The trace ended first.
    TraceEnded,
    /// Its address was given to another packet: it ended where this kernel lets nobody see.
    AddressReused,
    /// A part of it was lost: the ring was full.
    RecordLost,
}

/// One packet's way from first sight to its outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Journey {
    /// Its number.
    pub id: JourneyId,
    /// Which way it went, over all legs.
    pub direction: Direction,
    /// How it ended: the last leg's outcome.
    pub outcome: Outcome,
    /// The packet's headers as first seen; `None` when none could be read.
    pub flow: Option<Flow>,
    /// Later, different headers (NAT, tunnels), in order.
    pub rewrites: Vec<Flow>,
    /// `skb->len` at first sight.
    pub len: u32,
    /// `skb->protocol` (ethertype) at first sight.
    pub ether_type: u16,
    /// First stamp.
    pub start: u64,
    /// Last stamp minus first stamp; the stages sum to it exactly.
    pub total: u64,
    /// Its parts inside one network namespace each, in order; at least one.
    pub legs: Vec<Leg>,
    /// Its stages, in order, without holes between them.
    pub stages: Vec<Stage>,
    /// What dropped it.
    pub drop: Option<Drop>,
    /// The sending thread, where known.
    pub sender: Option<Process>,
    /// The receiving thread, where known.
    pub receiver: Option<Process>,
    /// The NAPI polls that brought it, at most one for each leg.
    pub polls: Vec<Poll>,
    /// Other journeys it has to do with.
    pub links: Vec<Link>,
    /// The first part was not seen: tracing began, or a record was lost, when it was already under way.
    pub partial: bool,
}

/// A part of a journey inside one network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leg {
    /// Inode number of the network namespace; 0 when not known.
    pub netns: u32,
    /// Never [`Direction::Loop`].
    pub direction: Direction,
    /// Interface index it came in by.
    pub input: Option<u32>,
    /// Interface index it left by.
    pub output: Option<u32>,
    /// How this part ended.
    pub outcome: Outcome,
}

/// One named span of a journey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage {
    /// What the packet did.
    pub name: StageName,
    /// Index into [`Journey::legs`].
    pub leg: u16,
    /// When it began.
    pub start: u64,
    /// How long it took.
    pub ns: u64,
    /// CPU of its beginning.
    pub cpu: u16,
    /// Whether the span is what its name says.
    pub state: StageState,
}

/// How far a stage's figure can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StageState {
    /// Both ends were stamped.
    Measured,
    /// Stamps between its ends are missing (not probed on this kernel, or lost): the span holds other stages too.
    Gap,
}

/// A packet's identity on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number (6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6 …).
    pub protocol: u8,
    /// Source and destination port (TCP, UDP, SCTP); `None` for other protocols and for later fragments.
    pub ports: Option<(u16, u16)>,
    /// The TCP header's facts.
    pub tcp: Option<TcpSegment>,
    /// ICMP: type and code.
    pub icmp: Option<(u8, u8)>,
    /// IPv4 identification, or the IPv6 fragment header's.
    pub ip_id: Option<u32>,
    /// Time to live / hop limit.
    pub ttl: u8,
    /// Fragment offset in bytes and "more fragments"; `None` for a whole packet.
    pub fragment: Option<(u16, bool)>,
}

/// What the TCP header says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TcpSegment {
    /// First sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Payload bytes (of the whole GSO packet, before segmentation).
    pub payload: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
}

/// Who dropped a packet, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drop {
    /// The kernel's code; `None` on kernels without reasons (before 5.17).
    pub reason: Option<u32>,
    /// Address of the caller.
    pub location: u64,
    /// The stage it was in.
    pub stage: StageName,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
    /// When.
    pub time: u64,
    /// CPU it happened on.
    pub cpu: u16,
}

/// A process, by the thread that made the call.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Process {
    /// Thread id.
    pub pid: u32,
    /// Process id; 0 when not known.
    pub tgid: u32,
    /// `comm`, empty when not known; one for all journeys of the thread.
    pub name: Arc<str>,
}

/// The NAPI poll that brought a packet to a leg.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Poll {
    /// Index into [`Journey::legs`].
    pub leg: u16,
    /// CPU it ran on.
    pub cpu: u16,
    /// Packets the poll handled.
    pub work: u32,
    /// Packets it was allowed.
    pub budget: u32,
    /// Duration of the whole poll.
    pub ns: u64,
    /// Interface index of the NAPI's device; 0 for the per-CPU backlog.
    pub ifindex: u32,
    /// Interrupt that scheduled it; `None` when there was none.
    pub irq: Option<u16>,
    /// When the NET_RX softirq that ran it began; `None` outside of a softirq (threaded NAPI, busy polling).
    pub softirq: Option<u64>,
}

/// Two journeys that belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link {
    /// What this journey is to the other.
    pub kind: LinkKind,
    /// The other.
    pub journey: JourneyId,
}

/// What one journey is to another.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromRepr, Debug)]
pub enum LinkKind {
    /// Shares the other's data.
    CloneOf,
    /// GRO merged it into the other.
    MergedInto,
    /// GSO or IP fragmentation made it from the other.
    SplitFrom,
    /// TCP sends the other's bytes again.
    RetransmitOf,
}

/// The balance: `seen` is the sum of all the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Packets seen by any hook.
    pub seen: u64,
    /// See [`Outcome::Delivered`].
    pub delivered: u64,
    /// See [`Outcome::Sent`].
    pub sent: u64,
    /// See [`Outcome::Forwarded`].
    pub forwarded: u64,
    /// See [`Outcome::Dropped`].
    pub dropped: u64,
    /// See [`Outcome::Consumed`].
    pub consumed: u64,
    /// See [`Outcome::Unfinished`].
    pub unfinished: u64,
    /// Packets of which nothing but the loss is known.
    pub lost: u64,
}

impl Ledger {
    /// Counts one finished journey.
    pub fn count(&mut self, outcome: Outcome) {
        self.seen += 1;
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Sent => self.sent += 1,
            Outcome::Forwarded => self.forwarded += 1,
            Outcome::Dropped => self.dropped += 1,
            Outcome::Consumed => self.consumed += 1,
            Outcome::Unfinished(_) => self.unfinished += 1,
        }
    }

    /// Whether it balances.
    pub const fn balances(&self) -> bool {
        self.seen
            == self.delivered
                + self.sent
                + self.forwarded
                + self.dropped
                + self.consumed
                + self.unfinished
                + self.lost
    }
}

/// Losses by cause, as counted by the kernel side and by the assembler.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Segments for which the ring had no room.
    pub segments: u64,
    /// … of which first parts of a packet.
    pub births: u64,
    /// Other records for which the ring had no room.
    pub records: u64,
    /// Segments that came too late for their journey.
    pub late: u64,
    /// Records that could not be decoded.
    pub damaged: u64,
    /// Journeys pushed out by the limit of open journeys.
    pub evicted: u64,
    /// Calls of hooks for which the kernel did not run our program.
    pub missed: u64,
}
