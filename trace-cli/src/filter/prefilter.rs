//! The part of a filter that the kernel side can check cheaply, before it does any work for a packet.
//!
//! A prefilter is a *necessary* condition on one flow of a journey: whatever [`Filter::matches`](super::Filter::matches) accepts,
//! it accepts. It says nothing about the rest; user space always runs the whole filter again. Whoever applies it must know:
//!
//! - **What a stamp does not know, passes.** A fragment that is not the first has no ports, a stamp before the IP header is parsed
//!   has no addresses, a stamp outside any namespace has no inode. Only a value that is there and differs rejects.
//! - **`ether_type` is the network protocol's**, not that of a VLAN or PPPoE header around it, and not `skb->protocol` where the
//!   kernel has not set that yet (a packet on its way out, above the IP layer).
//! - **A journey has one flow per rewriting, a stamp has one flow.** After NAT or encapsulation the packet that `matches` will accept
//!   looks different from the one at an earlier stamp. Where the caller cannot tell for sure that a packet keeps its flow,
//!   it must weaken the condition with [`Prefilter::despite`], or the journey's beginning is missing.
//! - **An ICMP error is judged by its own header.** The packet that it quotes is no flow of this journey.
//! - ARP's sender and target count as `host`, as in pcap; a kernel side that does not read them must pass ARP on `host`.

use std::net::IpAddr;

use super::ast::{Expr, Primitive};
use super::eval::Subject;

/// Values that every match needs; `None` where matches can differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefilter {
    /// The network protocol's Ethernet type, in host byte order.
    pub ether_type: Option<u16>,
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// The source or the destination port.
    pub port: Option<u16>,
    /// The source or the destination address.
    pub host: Option<IpAddr>,
    /// The inode of a namespace that the journey touches.
    pub netns: Option<u32>,
}

/// What may change about a packet during its journey.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewriting {
    /// Addresses and ports (NAT, load balancers).
    pub nat: bool,
    /// The headers themselves (tunnels, IPsec, NAT64).
    pub tunnels: bool,
    /// The network namespace (veth, moved interfaces).
    pub namespaces: bool,
}

/// Whether one end has the value, or may have it.
fn either_end<T: PartialEq>(src: Option<T>, dst: Option<T>, wanted: T) -> bool {
    [src, dst]
        .iter()
        .any(|end| end.as_ref().is_none_or(|found| *found == wanted))
}

impl Prefilter {
    pub(super) fn of(expr: &Expr) -> Self {
        Self::necessary(expr, false)
    }

    /// Whether nothing at all is needed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What still holds at every stamp of a journey that may be rewritten so.
    #[must_use]
    pub fn despite(self, rewriting: Rewriting) -> Self {
        let Rewriting {
            nat,
            tunnels,
            namespaces,
        } = rewriting;
        Self {
            ether_type: self.ether_type.filter(|_| !tunnels),
            protocol: self.protocol.filter(|_| !tunnels),
            port: self.port.filter(|_| !nat && !tunnels),
            host: self.host.filter(|_| !nat && !tunnels),
            netns: self.netns.filter(|_| !namespaces),
        }
    }

    /// The reference for the kernel side: rejects only for a value that is known and differs.
    pub fn accepts(&self, p: &Subject<'_>) -> bool {
        self.ether_type
            .is_none_or(|wanted| [0, wanted].contains(&p.effective_ether_type()))
            && self
                .protocol
                .is_none_or(|wanted| p.protocol.is_none_or(|found| found == wanted))
            && self
                .port
                .is_none_or(|wanted| either_end(p.src_port, p.dst_port, wanted))
            && self
                .host
                .is_none_or(|wanted| either_end(p.src, p.dst, wanted))
            && self.netns.is_none_or(|wanted| {
                p.netns.is_empty() || p.netns.iter().any(|&(found, _)| found == wanted)
            })
    }

    /// What `expr`, or its negation, needs.
    fn necessary(expr: &Expr, negated: bool) -> Self {
        match expr {
            // "Not this value" is nothing that a prefilter can say.
            Expr::Primitive(primitive) => {
                if negated {
                    Self::default()
                } else {
                    Self::primitive(primitive)
                }
            }
            Expr::Not(inner) => Self::necessary(inner, !negated),
            Expr::And(parts) if !negated => Self::join(parts, negated, Self::both),
            Expr::Or(parts) if negated => Self::join(parts, negated, Self::both),
            Expr::And(parts) | Expr::Or(parts) => Self::join(parts, negated, Self::either),
        }
    }

    fn join(parts: &[Expr], negated: bool, with: fn(Self, Self) -> Self) -> Self {
        parts
            .iter()
            .map(|part| Self::necessary(part, negated))
            .reduce(with)
            .unwrap_or_default()
    }

    /// Needs both; where both need different values, either alone is still needed.
    fn both(self, other: Self) -> Self {
        Self {
            ether_type: self.ether_type.or(other.ether_type),
            protocol: self.protocol.or(other.protocol),
            port: self.port.or(other.port),
            host: self.host.or(other.host),
            netns: self.netns.or(other.netns),
        }
    }

    /// Needs one of the two, so only what both need is sure.
    fn either(self, other: Self) -> Self {
        fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.filter(|value| other.as_ref() == Some(value))
        }
        Self {
            ether_type: same(self.ether_type, other.ether_type),
            protocol: same(self.protocol, other.protocol),
            port: same(self.port, other.port),
            host: same(self.host, other.host),
            netns: same(self.netns, other.netns),
        }
    }

    fn primitive(primitive: &Primitive) -> Self {
        let none = Self::default();
        match *primitive {
            Primitive::Layer(layer) => Self {
                ether_type: Some(layer.ether_type()),
                ..none
            },
            Primitive::Protocol { layer, number } => Self {
                ether_type: layer.map(|layer| layer.ether_type()),
                protocol: Some(number),
                ..none
            },
            Primitive::Host { layer, address, .. } => Self {
                ether_type: layer.map(|layer| layer.ether_type()),
                host: Some(address),
                ..none
            },
            Primitive::Net { layer, .. } => Self {
                ether_type: layer.map(|layer| layer.ether_type()),
                ..none
            },
            Primitive::Port {
                transport,
                first,
                last,
                ..
            } => Self {
                protocol: transport.map(|transport| transport.number()),
                port: Some(first).filter(|_| first == last),
                ..none
            },
            Primitive::NetnsInode(inode) => Self {
                netns: Some(inode),
                ..none
            },
            Primitive::Less(_)
            | Primitive::Greater(_)
            | Primitive::Inbound
            | Primitive::Outbound
            | Primitive::Direction(_)
            | Primitive::NetnsName(_)
            | Primitive::Process(_)
            | Primitive::Pid(_)
            | Primitive::Interface(_) => none,
        }
    }
}
