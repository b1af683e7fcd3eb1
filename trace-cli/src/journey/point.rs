//! Where a packet can be seen: the wire's hooks, with netfilter's five hooks told apart, and the end of
//! `recv()`, which no packet passes but a system call marks.

use strum::FromRepr;
use trace_ebpf::{Hook, nf};

/// A place that a packet passes. The order is that of a packet's way in, then of its way out.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, FromRepr, Debug)]
pub(super) enum Point {
    Interrupt,
    NapiSchedule,
    Softirq,
    Poll,
    Gro,
    GroDone,
    Backlog,
    Receive,
    XdpGeneric,
    Classify,
    Ip,
    PreEnter,
    PreLeave,
    Forward,
    FwdEnter,
    FwdLeave,
    Deliver,
    InEnter,
    InLeave,
    Transport,
    TcpSocket,
    TcpBacklog,
    Queued,
    Wakeup,
    TransportDone,
    Copy,
    /// `recv()` returned: from a socket record, never from a segment.
    RecvDone,
    Send,
    SocketWrite,
    TcpTransmit,
    IpOutput,
    OutEnter,
    OutLeave,
    PostEnter,
    PostLeave,
    Neighbour,
    DevQueue,
    QdiscEnqueue,
    QdiscDequeue,
    StartXmit,
    XmitDone,
    Consume,
    Drop,
}

impl Point {
    /// The point of a stamp; `None` for netfilter hooks that are none of the five (ingress), and for
    /// leaving one with the packet gone: its end, a drop or NF_STOLEN, has its own stamp.
    #[inline]
    pub(super) const fn of(hook: Hook, a: u8, b: u16) -> Option<Self> {
        match hook {
            Hook::NfEnter => match a {
                nf::PRE_ROUTING => Some(Self::PreEnter),
                nf::LOCAL_IN => Some(Self::InEnter),
                nf::FORWARD => Some(Self::FwdEnter),
                nf::LOCAL_OUT => Some(Self::OutEnter),
                nf::POST_ROUTING => Some(Self::PostEnter),
                _ => None,
            },
            Hook::NfLeave if b != 1 => None,
            Hook::NfLeave => match a {
                nf::PRE_ROUTING => Some(Self::PreLeave),
                nf::LOCAL_IN => Some(Self::InLeave),
                nf::FORWARD => Some(Self::FwdLeave),
                nf::LOCAL_OUT => Some(Self::OutLeave),
                nf::POST_ROUTING => Some(Self::PostLeave),
                _ => None,
            },
            other => Self::of_other(other),
        }
    }

    /// … of a hook that is none of netfilter's: a table for the compiler.
    const fn of_other(hook: Hook) -> Option<Self> {
        Some(match hook {
            Hook::NfEnter | Hook::NfLeave => return None,
            Hook::Interrupt => Self::Interrupt,
            Hook::NapiSchedule => Self::NapiSchedule,
            Hook::Softirq => Self::Softirq,
            Hook::Poll => Self::Poll,
            Hook::Gro => Self::Gro,
            Hook::GroDone => Self::GroDone,
            Hook::Backlog => Self::Backlog,
            Hook::Receive => Self::Receive,
            Hook::Classify => Self::Classify,
            Hook::XdpGeneric => Self::XdpGeneric,
            Hook::Ip => Self::Ip,
            Hook::Deliver => Self::Deliver,
            Hook::Forward => Self::Forward,
            Hook::Transport => Self::Transport,
            Hook::TransportDone => Self::TransportDone,
            Hook::TcpSocket => Self::TcpSocket,
            Hook::TcpBacklog => Self::TcpBacklog,
            Hook::Queued => Self::Queued,
            Hook::Wakeup => Self::Wakeup,
            Hook::Copy => Self::Copy,
            Hook::Consume => Self::Consume,
            Hook::Drop => Self::Drop,
            Hook::Send => Self::Send,
            Hook::SocketWrite => Self::SocketWrite,
            Hook::TcpTransmit => Self::TcpTransmit,
            Hook::IpOutput => Self::IpOutput,
            Hook::Neighbour => Self::Neighbour,
            Hook::DevQueue => Self::DevQueue,
            Hook::QdiscEnqueue => Self::QdiscEnqueue,
            Hook::QdiscDequeue => Self::QdiscDequeue,
            Hook::StartXmit => Self::StartXmit,
            Hook::XmitDone => Self::XmitDone,
        })
    }

    /// Stamped from what the CPU was doing before it had this packet in hand.
    pub(super) const fn is_poll_context(self) -> bool {
        POLL_CONTEXT.has(self)
    }
}

/// A set of points.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Points(u64);

impl Points {
    pub(super) const fn of(points: &[Point]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < points.len() {
            bits |= 1 << points[i] as u8;
            i += 1;
        }
        Self(bits)
    }

    /// By their bits: a point's is that of its number.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// These too.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn insert(&mut self, point: Point) {
        self.0 |= 1 << point as u8;
    }

    pub(super) const fn has(self, point: Point) -> bool {
        self.0 & (1 << point as u8) != 0
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// But not these.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those behind `a` and before `b` on a packet's way.
    pub(super) const fn between(self, a: Point, b: Point) -> Self {
        let (before, through) = ((1 << b as u8) - 1, (2 << a as u8) - 1);
        Self(self.0 & before & !through)
    }

    /// Those behind all of these on a packet's way.
    pub(super) const fn behind(self, passed: Self) -> Self {
        match u64::MAX.checked_shl(u64::BITS - passed.0.leading_zeros()) {
            Some(behind) => Self(self.0 & behind),
            None => Self(0),
        }
    }

    /// Those behind `point` on a packet's way.
    pub(super) const fn after(self, point: Point) -> Self {
        Self(self.0 & !1 << point as u8)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const POLL_CONTEXT: Points = Points::of(&[
    Point::Interrupt,
    Point::NapiSchedule,
    Point::Softirq,
    Point::Poll,
]);
/// What the CPU or the thread did before it had the packet: these may be older than it.
pub(super) const CONTEXT: Points = SENDING.and(POLL_CONTEXT);
/// How a packet comes in.
pub(super) const ARRIVAL: Points = Points::of(&[Point::Gro, Point::Backlog, Point::Receive]);
/// At or past the transport protocol: whatever comes after is no longer on its way in.
pub(super) const TRANSPORT: Points = Points::of(&[
    Point::InLeave,
    Point::Transport,
    Point::TcpSocket,
    Point::TcpBacklog,
    Point::Queued,
    Point::Wakeup,
    Point::TransportDone,
    Point::Copy,
]);
/// After these the packet is still in the hands that then end it: of who builds it, of who cuts it into fragments, and of who
/// has read it.
pub(super) const IN_HAND: Points = CONTEXT.and(CUT).and(Points::of(&[Point::Copy]));
/// After these it may be cut into fragments (`ip_do_fragment`), which are sent before it is freed.
pub(super) const CUT: Points = Points::of(&[Point::IpOutput, Point::PostLeave]);
/// Given to a socket's queue.
pub(super) const AT_SOCKET: Points = Points::of(&[Point::Queued, Point::TcpBacklog]);
/// Where the receiving socket is known, or has it.
pub(super) const SOCKET: Points = Points::of(&[
    Point::TcpSocket,
    Point::TcpBacklog,
    Point::Queued,
    Point::Copy,
    Point::RecvDone,
]);
/// On the way in, between arrival and transport.
pub(super) const INBOUND: Points = Points::of(&[
    Point::XdpGeneric,
    Point::Ip,
    Point::PreEnter,
    Point::PreLeave,
    Point::Deliver,
    Point::InEnter,
    Point::InLeave,
    Point::Forward,
    Point::FwdEnter,
    Point::FwdLeave,
]);
/// Before IP output has the packet.
pub(super) const SENDING: Points =
    Points::of(&[Point::Send, Point::SocketWrite, Point::TcpTransmit]);
/// IP output of a local packet.
pub(super) const LOCAL_OUTPUT: Points =
    Points::of(&[Point::IpOutput, Point::OutEnter, Point::OutLeave]);
/// On the way out, local or forwarded.
pub(super) const OUTBOUND: Points = Points::of(&[
    Point::PostEnter,
    Point::PostLeave,
    Point::Neighbour,
    Point::DevQueue,
    Point::QdiscEnqueue,
    Point::QdiscDequeue,
    Point::StartXmit,
    Point::XmitDone,
]);
/// Marks that can trail behind a packet which is already elsewhere, or gone: the CPU that held it
/// returns from the function that passed it on. They never begin a journey.
pub(super) const TRAILING: Points = Points::of(&[
    Point::GroDone,
    Point::TransportDone,
    Point::XmitDone,
    Point::Wakeup,
    Point::Consume,
]);
/// First stamps of a packet whose beginning was seen. Everything else says that a part is missing.
pub(super) const BEGINNINGS: Points = Points::of(&[
    Point::Gro,
    Point::Backlog,
    Point::Receive,
    Point::Send,
    Point::SocketWrite,
    Point::TcpTransmit,
    Point::IpOutput,
    Point::OutEnter,
    Point::PostEnter,
    Point::Neighbour,
    Point::DevQueue,
]);
