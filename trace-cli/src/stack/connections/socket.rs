//! A socket, and the words for what it is.

use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
};

use serde::Serialize;

use super::{memory::Memory, owners::Owner, tcp_info::TcpInfo};

/// Transport protocols whose sockets are listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP; subflows of MPTCP are among it.
    Tcp,
    /// MPTCP: connections that TCP subflows make up.
    Mptcp,
    /// UDP.
    Udp,
    /// Raw IP sockets; their local port is a protocol number.
    Raw,
    /// Sockets for pings (`SOCK_DGRAM`, ICMP); their local port is an identifier.
    Ping,
}

impl Protocol {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Mptcp, Self::Udp, Self::Raw, Self::Ping];

    /// `IPPROTO_*`, as sock_diag knows it; it does not know ping sockets.
    pub(super) const fn number(self) -> Option<u32> {
        match self {
            Self::Tcp => Some(6),
            Self::Mptcp => Some(262),
            Self::Udp => Some(17),
            Self::Raw => Some(255),
            Self::Ping => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Mptcp => "mptcp",
            Self::Udp => "udp",
            Self::Raw => "raw",
            Self::Ping => "ping",
        }
    }
}

/// Versions of IP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`; with addresses `::ffff:a.b.c.d` it is used for IPv4.
    Ipv6,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// `AF_*`.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| family.number() == number)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// What a socket is doing; in the order in which sockets are listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for connections.
    Listen,
    /// Connected.
    Established,
    /// Our SYN is not answered yet.
    SynSent,
    /// The peer's SYN came; the handshake is not complete.
    SynRecv,
    /// The peer closed; our process has not.
    CloseWait,
    /// We closed; our FIN is not acknowledged.
    FinWait1,
    /// We closed; the peer has not.
    FinWait2,
    /// Both closed at once.
    Closing,
    /// Both closed; our FIN is not acknowledged.
    LastAck,
    /// Over; it waits for stray segments.
    TimeWait,
    /// TCP's CLOSE: it has no connection.
    Closed,
    /// A socket without a peer, of a protocol without connections.
    Unconnected,
}

impl State {
    /// The kernel's numbers (`include/net/tcp_states.h`), which all protocols use.
    pub(super) fn of(protocol: Protocol, number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 if matches!(protocol, Protocol::Tcp | Protocol::Mptcp) => Self::Closed,
            7 => Self::Unconnected,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }

    /// Its name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_recv",
            Self::CloseWait => "close_wait",
            Self::FinWait1 => "fin_wait1",
            Self::FinWait2 => "fin_wait2",
            Self::Closing => "closing",
            Self::LastAck => "last_ack",
            Self::TimeWait => "time_wait",
            Self::Closed => "closed",
            Self::Unconnected => "unconnected",
        }
    }
}

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Endpoint {
    /// IP address.
    pub address: IpAddr,
    /// Port; of a raw socket, the protocol number; of a ping socket, the identifier.
    pub port: u16,
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.port),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// An interface that a socket is bound to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name, if it is still there.
    pub name: Option<String>,
}

/// What waits in a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Queues {
    /// Received and not yet read, in bytes; of datagrams, the memory that they take.
    pub receive_bytes: u32,
    /// Written and not yet acknowledged, in bytes; of datagrams, the memory of those that have not left.
    pub send_bytes: u32,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Backlog {
    /// How many wait.
    pub pending: u32,
    /// How many may: what the process asked of `listen()`, or `net.core.somaxconn`. The kernel lets one more in.
    pub limit: u32,
    /// Attempts to connect that this listener dropped, for want of room here, of memory, or for other reasons.
    pub dropped: Option<u32>,
}

impl Backlog {
    /// The next connection would be refused (`sk_acceptq_is_full()`).
    pub const fn is_full(self) -> bool {
        self.pending > self.limit
    }
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// Retransmission, or a probe for a loss.
    Retransmit,
    /// Keepalive, or the wait in FIN-WAIT-2.
    Keepalive,
    /// The end of TIME-WAIT.
    TimeWait,
    /// A probe of the peer's closed window.
    WindowProbe,
}

impl TimerKind {
    /// `idiag_timer`: 0 is none.
    pub(super) const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Retransmit),
            2 => Some(Self::Keepalive),
            3 => Some(Self::TimeWait),
            4 => Some(Self::WindowProbe),
            _ => None,
        }
    }

    /// Its name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retransmit => "retransmit",
            Self::Keepalive => "keepalive",
            Self::TimeWait => "time_wait",
            Self::WindowProbe => "window_probe",
        }
    }
}

/// A timer that is running.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Timer {
    /// What for.
    pub kind: TimerKind,
    /// When it ends, in ms from now.
    pub expires_ms: u32,
    /// How many times it ended already without an answer.
    pub retransmits: u8,
}

/// One socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Socket {
    /// Transport protocol.
    pub protocol: Protocol,
    /// IP version of the socket.
    pub family: Family,
    /// What it is doing.
    pub state: State,
    /// Our end.
    pub local: Endpoint,
    /// The peer's, if there is one.
    pub remote: Option<Endpoint>,
    /// The interface that it is bound to.
    pub interface: Option<Interface>,
    /// What waits in it; not of listeners.
    pub queues: Option<Queues>,
    /// Of listeners.
    pub backlog: Option<Backlog>,
    /// User id of who made it; none if nobody has it open any more, or nobody accepted it yet.
    pub uid: Option<u32>,
    /// Inode number, likewise.
    pub inode: Option<u32>,
    /// Who has it open, as far as we may see.
    pub processes: Vec<Owner>,
    /// The timer that runs.
    pub timer: Option<Timer>,
    /// The kernel's number for it, never used again; of a socket that only a file lists, none.
    pub cookie: Option<u64>,
    /// `IPV6_V6ONLY`.
    pub only_ipv6: Option<bool>,
    /// `SO_MARK`; only root is told.
    pub mark: Option<u32>,
    /// Id of its cgroup (inode number in cgroup2).
    pub cgroup: Option<u64>,
    /// Congestion control.
    pub congestion: Option<String>,
    /// Upper-layer protocol on TCP: `tls`, `mptcp`.
    pub upper_layer: Option<String>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// TCP's own view; not of listeners, of connections not yet complete, or in TIME-WAIT.
    pub tcp: Option<Box<TcpInfo>>,
}

impl Socket {
    /// A socket of which nothing else is known yet.
    pub(super) const fn new(
        protocol: Protocol,
        family: Family,
        state: State,
        local: Endpoint,
    ) -> Self {
        Self {
            protocol,
            family,
            state,
            local,
            remote: None,
            interface: None,
            queues: None,
            backlog: None,
            uid: None,
            inode: None,
            processes: Vec::new(),
            timer: None,
            cookie: None,
            only_ipv6: None,
            mark: None,
            cgroup: None,
            congestion: None,
            upper_layer: None,
            memory: None,
            tcp: None,
        }
    }
}
