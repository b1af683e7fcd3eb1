//! Whether a packet matches.

use std::net::IpAddr;

use super::ast::{Direction, End, Expr, Layer, Net, Primitive, Transport};

/// The network protocol of a packet that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a filter can ask of one flow of a journey.
///
/// A journey whose packet was rewritten (NAT, tunnels) has several flows: it matches if it matches with any of them.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The Ethernet type in host byte order; read only where `network` is `None`, since the kernel sets it late on the way out.
    pub ether_type: u16,
    /// The network protocol.
    pub network: Option<Network>,
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// The source address; for ARP the sender's.
    pub src: Option<IpAddr>,
    /// The destination address; for ARP the target's.
    pub dst: Option<IpAddr>,
    /// The source port.
    pub src_port: Option<u16>,
    /// The destination port.
    pub dst_port: Option<u16>,
    /// The length in bytes.
    pub len: u32,
    /// Which way the journey goes.
    pub direction: Direction,
    /// Every network namespace of the journey: its inode, and its name where known.
    pub netns: &'a [(u32, Option<&'a str>)],
    /// Every interface of the journey.
    pub interfaces: &'a [&'a str],
    /// The process that owns the socket.
    pub pid: Option<u32>,
    /// That process's name, as the kernel has it: at most 15 bytes.
    pub process: Option<&'a str>,
}

/// The kernel's `TASK_COMM_LEN` without the zero byte.
const PROCESS_NAME_LEN: usize = 15;

impl Subject<'_> {
    /// The Ethernet type that goes with what is known of the packet.
    pub(super) fn effective_ether_type(&self) -> u16 {
        match self.network {
            Some(Network::V4) => Layer::Ip.ether_type(),
            Some(Network::V6) => Layer::Ip6.ether_type(),
            None => self.ether_type,
        }
    }

    fn is(&self, layer: Option<Layer>) -> bool {
        layer.is_none_or(|layer| layer.ether_type() == self.effective_ether_type())
    }

    fn has_ports_of(&self, transport: Option<Transport>) -> bool {
        let named = |transport: Transport| self.protocol == Some(transport.number());
        transport.map_or_else(|| Transport::ALL.into_iter().any(named), named)
    }

    fn is_process(&self, name: &str) -> bool {
        self.process.is_some_and(|process| {
            process == name || (process.len() >= PROCESS_NAME_LEN && name.starts_with(process))
        })
    }
}

impl End {
    /// A value that is not there passes no test.
    fn test<T>(self, src: Option<T>, dst: Option<T>, test: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Source => src.is_some_and(test),
            Self::Destination => dst.is_some_and(test),
            Self::Either => src.is_some_and(&test) || dst.is_some_and(test),
            Self::Both => src.is_some_and(&test) && dst.is_some_and(test),
        }
    }
}

impl Net {
    /// Whether the address is in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4 { address: net, mask }, IpAddr::V4(address)) => address & mask == net,
            (
                Self::V6 {
                    address: net,
                    prefix,
                },
                IpAddr::V6(address),
            ) => {
                let mask = u128::MAX
                    .checked_shl(128_u32.saturating_sub(prefix.into()))
                    .unwrap_or(0);
                address.to_bits() & mask == net.to_bits()
            }
            _ => false,
        }
    }
}

impl Expr {
    pub(super) fn matches(&self, p: &Subject<'_>) -> bool {
        match self {
            Self::Primitive(primitive) => primitive.matches(p),
            Self::Not(inner) => !inner.matches(p),
            Self::And(all) => all.iter().all(|part| part.matches(p)),
            Self::Or(any) => any.iter().any(|part| part.matches(p)),
        }
    }
}

impl Primitive {
    fn matches(&self, p: &Subject<'_>) -> bool {
        match *self {
            Self::Layer(layer) => p.is(Some(layer)),
            Self::Protocol { layer, number } => p.is(layer) && p.protocol == Some(number),
            Self::Host {
                layer,
                end,
                address,
            } => p.is(layer) && end.test(p.src, p.dst, |found| found == address),
            Self::Net { layer, end, net } => {
                p.is(layer) && end.test(p.src, p.dst, |found| net.contains(found))
            }
            Self::Port {
                transport,
                end,
                first,
                last,
            } => {
                p.has_ports_of(transport)
                    && end.test(p.src_port, p.dst_port, |port| {
                        (first..=last).contains(&port)
                    })
            }
            Self::Less(length) => p.len <= length,
            Self::Greater(length) => p.len >= length,
            // tcpdump on "any" sees a forwarded or looped packet both coming and going, so it is both here.
            Self::Inbound => p.direction != Direction::Transmit,
            Self::Outbound => p.direction != Direction::Receive,
            Self::Direction(direction) => p.direction == direction,
            Self::NetnsName(ref name) => p
                .netns
                .iter()
                .any(|(_, known)| *known == Some(name.as_str())),
            Self::NetnsInode(inode) => p.netns.iter().any(|(known, _)| *known == inode),
            Self::Process(ref name) => p.is_process(name),
            Self::Pid(pid) => p.pid == Some(pid),
            Self::Interface(ref name) => p.interfaces.contains(&name.as_str()),
        }
    }
}
