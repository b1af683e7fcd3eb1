//! What a filter expression means, apart from how it was written and from how it is evaluated.
//!
//! Elided qualifiers, service names, partial networks and redundant parentheses are gone by the time a tree exists, so two
//! expressions that say the same thing in the same order have equal trees, and [`Display`](fmt::Display) can print a canonical form.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An expression over primitives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// One test.
    Primitive(Primitive),
    /// Negation.
    Not(Box<Expr>),
    /// All of at least two; none of them is itself an `And`.
    And(Vec<Expr>),
    /// Any of at least two; none of them is itself an `Or`.
    Or(Vec<Expr>),
}

impl Expr {
    /// `left and right`, with nested conjunctions flattened.
    pub fn and(left: Self, right: Self) -> Self {
        let mut all = match left {
            Self::And(all) => all,
            other => vec![other],
        };
        match right {
            Self::And(more) => all.extend(more),
            other => all.push(other),
        }
        Self::And(all)
    }

    /// `left or right`, with nested alternatives flattened.
    pub fn or(left: Self, right: Self) -> Self {
        let mut any = match left {
            Self::Or(any) => any,
            other => vec![other],
        };
        match right {
            Self::Or(more) => any.extend(more),
            other => any.push(other),
        }
        Self::Or(any)
    }

    /// `not inner`.
    pub fn negate(inner: Self) -> Self {
        Self::Not(Box::new(inner))
    }
}

/// One test of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Primitive {
    /// `ip`, `ip6`, `arp`.
    Layer(Layer),
    /// `tcp`, `icmp`, `proto 47`, `ip proto 2`.
    Protocol {
        /// Only over this network protocol.
        layer: Option<Layer>,
        /// The IP protocol number.
        number: u8,
    },
    /// `src host 192.0.2.1`.
    Host {
        /// Only over this network protocol.
        layer: Option<Layer>,
        /// Which end.
        end: End,
        /// The address.
        address: IpAddr,
    },
    /// `dst net 192.0.2.0/24`.
    Net {
        /// Only over this network protocol.
        layer: Option<Layer>,
        /// Which end.
        end: End,
        /// The network.
        net: Net,
    },
    /// `tcp dst port 443`, `portrange 6000-6008`.
    Port {
        /// Only over this transport protocol; without it TCP, UDP and SCTP.
        transport: Option<Transport>,
        /// Which end.
        end: End,
        /// The lowest port that matches.
        first: u16,
        /// The highest port that matches.
        last: u16,
    },
    /// `less N`: at most N bytes long.
    Less(u32),
    /// `greater N`: at least N bytes long.
    Greater(u32),
    /// `inbound`: the host received it.
    Inbound,
    /// `outbound`: the host sent it.
    Outbound,
    /// `direction forward`.
    Direction(Direction),
    /// `netns blue`: some leg of the journey was in this namespace.
    NetnsName(String),
    /// `netns 4026531840`.
    NetnsInode(u32),
    /// `process nginx`.
    Process(String),
    /// `pid 4711`.
    Pid(u32),
    /// `iface eth0`: some leg of the journey used this interface.
    Interface(String),
}

/// A protocol directly above the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
}

impl Layer {
    /// The number by which Ethernet knows it.
    pub const fn ether_type(self) -> u16 {
        match self {
            Self::Ip => 0x0800,
            Self::Ip6 => 0x86dd,
            Self::Arp => 0x0806,
        }
    }
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// The three of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// Which end of the packet's way a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `src`.
    Source,
    /// `dst`.
    Destination,
    /// `src or dst`, and what is meant when nothing is said.
    Either,
    /// `src and dst`.
    Both,
}

/// Which way a journey goes, seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From outside to a socket here.
    Receive,
    /// From a socket here to outside.
    Transmit,
    /// From outside to outside.
    Forward,
    /// From a socket here to a socket here.
    Loop,
}

/// A set of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// IPv4; pcap lets the mask have holes.
    V4 {
        /// The address, with no bit outside the mask.
        address: Ipv4Addr,
        /// The bits that count.
        mask: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// The address, with no bit outside the prefix.
        address: Ipv6Addr,
        /// How many leading bits count.
        prefix: u8,
    },
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, parts) = match self {
            Self::Primitive(primitive) => return primitive.fmt(f),
            Self::Not(inner) => return write!(f, "not {inner}"),
            Self::And(parts) => (" and ", parts),
            Self::Or(parts) => (" or ", parts),
        };
        for (index, part) in parts.iter().enumerate() {
            f.write_str(if index == 0 { "(" } else { word })?;
            part.fmt(f)?;
        }
        f.write_char(')')
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => layer.fmt(f),
            Self::Protocol { layer, number } => write!(f, "{}proto {number}", Qualified(layer)),
            Self::Host {
                layer,
                end,
                address,
            } => write!(f, "{}{end}host {address}", Qualified(layer)),
            Self::Net { layer, end, net } => write!(f, "{}{end}net {net}", Qualified(layer)),
            Self::Port {
                transport,
                end,
                first,
                last,
            } if first == last => {
                write!(f, "{}{end}port {first}", Qualified(transport))
            }
            Self::Port {
                transport,
                end,
                first,
                last,
            } => {
                write!(f, "{}{end}portrange {first}-{last}", Qualified(transport))
            }
            Self::Less(length) => write!(f, "less {length}"),
            Self::Greater(length) => write!(f, "greater {length}"),
            Self::Inbound => f.write_str("inbound"),
            Self::Outbound => f.write_str("outbound"),
            Self::Direction(direction) => write!(f, "direction {direction}"),
            Self::NetnsName(name) => write!(f, "netns {}", Quoted(name)),
            Self::NetnsInode(inode) => write!(f, "netns {inode}"),
            Self::Process(name) => write!(f, "process {}", Quoted(name)),
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::Interface(name) => write!(f, "iface {}", Quoted(name)),
        }
    }
}

/// A qualifier and the space after it, or nothing.
struct Qualified<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for Qualified<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |word| write!(f, "{word} "))
    }
}

/// A name as the lexer reads it back: `\` before a quote and before itself.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Ends with a space, as it never stands alone.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src ",
            Self::Destination => "dst ",
            Self::Either => "",
            Self::Both => "src and dst ",
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receive => "receive",
            Self::Transmit => "transmit",
            Self::Forward => "forward",
            Self::Loop => "loop",
        })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4 { address, mask } => {
                let bits = mask.to_bits();
                if bits.leading_ones() == bits.count_ones() {
                    write!(f, "{address}/{}", bits.count_ones())
                } else {
                    write!(f, "{address} mask {mask}")
                }
            }
            Self::V6 { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}
