//! Packet bytes → [`Flow`].
//!
//! What there is are the [`PACKET_BYTES`] from the network header on, cut off wherever they end: so the
//! headers are read by hand, each field only if it is there, and the rest is left unknown. (etherparse's
//! slices want a whole header or nothing; an IPv6 packet with extension headers has its ports often
//! inside the bytes and its TCP options outside.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use trace_ebpf::PACKET_BYTES;

use super::model::{Flow, TcpSegment};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
const DCCP: u8 = 33;

/// The flow of a packet whose first bytes are `bytes`, whose ethertype is `ether_type` and whose
/// `skb->len` is `len`; `None` when it is not IP.
pub fn parse(bytes: &[u8; PACKET_BYTES], ether_type: u16, len: u32) -> Option<Flow> {
    // The version nibble decides where the ethertype says nothing (skb->protocol is set late on the
    // way out) or names what encloses the packet (VLAN, MPLS, PPPoE).
    match (ether_type, bytes[0] >> 4) {
        (ETHERTYPE_IPV4, 4) => ipv4(bytes, len),
        (ETHERTYPE_IPV6, 6) => ipv6(bytes, len),
        (ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | 0x0806, _) => None,
        (_, 4) => ipv4(bytes, len),
        (_, 6) => ipv6(bytes, len),
        _ => None,
    }
}

/// Whether this is TCP.
pub(super) fn is_tcp(flow: &Flow) -> bool {
    flow.protocol == TCP
}

/// Whether this is UDP.
pub(super) fn is_udp(flow: &Flow) -> bool {
    flow.protocol == UDP
}

/// Whether it is for one host.
pub(super) fn is_unicast(flow: &Flow) -> bool {
    match flow.destination {
        IpAddr::V4(to) => !to.is_multicast() && !to.is_broadcast(),
        IpAddr::V6(to) => !to.is_multicast(),
    }
}

/// Sequence numbers that the segment takes: its payload, and one each for SYN and FIN.
pub(super) fn sequence_length(tcp: &TcpSegment) -> u32 {
    tcp.payload
        .wrapping_add(u32::from(tcp.flags & 1))
        .wrapping_add(u32::from(tcp.flags >> 1 & 1))
}

/// Whether this is an ICMP echo reply.
pub(super) fn is_echo_reply(flow: &Flow) -> bool {
    matches!(
        (flow.protocol, flow.icmp),
        (ICMP, Some((0, _))) | (ICMPV6, Some((129, _)))
    )
}

/// Whether packets of this protocol can hold packets.
pub(super) fn can_carry_packets(flow: &Flow) -> bool {
    // UDP (VXLAN, Geneve, WireGuard …), IPIP, IPv6 in IP, GRE, ESP, AH
    matches!(flow.protocol, UDP | 4 | 41 | 47 | 50 | 51)
}

/// Whether the headers that say where a packet goes are the same.
pub(super) fn same_addresses(a: &Flow, b: &Flow) -> bool {
    a.source == b.source
        && a.destination == b.destination
        && a.protocol == b.protocol
        && (a.ports == b.ports || a.ports.is_none() || b.ports.is_none())
}

/// Whether `b` can be the packet that `a` was, some hooks later: forwarding changes the time to live,
/// NAT changes addresses and ports, GRO and reassembly change the length. What none of them changes
/// are TCP's sequence number, ICMP's type and IPv4's identification; where a packet has none of them
/// (IPv6 UDP; IPv4 with identification 0), at least one end must have stayed the same.
pub(super) fn may_be_same_packet(a: &Flow, b: &Flow) -> bool {
    if a.protocol != b.protocol || a.source.is_ipv4() != b.source.is_ipv4() {
        return false;
    }
    if let (Some(x), Some(y)) = (a.icmp, b.icmp)
        && x != y
    {
        return false;
    }
    // One of the two may have been read before the identification was chosen.
    let ids = match (a.ip_id, b.ip_id) {
        (Some(x), Some(y)) if x != 0 && y != 0 => Some(x == y),
        _ => None,
    };
    if let (Some(x), Some(y)) = (a.tcp, b.tcp) {
        return x.seq == y.seq && ids != Some(false);
    }
    match ids {
        Some(same) => same,
        _ => a.source == b.source || a.destination == b.destination,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let high = be16(bytes, at)?;
    let low = be16(bytes, at + 2)?;
    Some(u32::from(high) << 16 | u32::from(low))
}

fn ipv4(bytes: &[u8; PACKET_BYTES], len: u32) -> Option<Flow> {
    let header = usize::from(bytes[0] & 15) * 4;
    if header < 20 {
        return None;
    }
    // 0: a GSO packet too long for the field (BIG TCP), or a header not filled in yet.
    let total = match be16(bytes, 2)? {
        0 => len,
        n => u32::from(n),
    };
    let fragment = be16(bytes, 6)?;
    let offset = (fragment & 0x1fff) * 8;
    let more = fragment & 0x2000 != 0;
    let address = |at| be32(bytes, at).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let mut flow = Flow {
        source: address(12)?,
        destination: address(16)?,
        protocol: bytes[9],
        ports: None,
        tcp: None,
        icmp: None,
        ip_id: Some(u32::from(be16(bytes, 4)?)),
        ttl: bytes[8],
        fragment: (offset != 0 || more).then_some((offset, more)),
    };
    if offset == 0 {
        transport(&mut flow, bytes, header, total);
    }
    Some(flow)
}

fn ipv6(bytes: &[u8; PACKET_BYTES], len: u32) -> Option<Flow> {
    let address = |at: usize| {
        let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    // 0: jumbograms and GSO packets of more than 64 KiB.
    let total = match be16(bytes, 4)? {
        0 => len,
        n => u32::from(n) + 40,
    };
    let mut flow = Flow {
        source: address(8)?,
        destination: address(24)?,
        protocol: bytes[6],
        ports: None,
        tcp: None,
        icmp: None,
        ip_id: None,
        ttl: bytes[7],
        fragment: None,
    };
    let mut at = 40;
    // Every extension header is at least 8 bytes long, so the 64 bytes hold at most three.
    loop {
        let next = match flow.protocol {
            // hop-by-hop options, routing, destination options, mobility, HIP, shim6
            0 | 43 | 60 | 135 | 139 | 140 => {
                let Some(&units) = bytes.get(at + 1) else {
                    return Some(flow);
                };
                at + 8 + usize::from(units) * 8
            }
            // authentication header: counted in 4 bytes, minus 2
            51 => {
                let Some(&units) = bytes.get(at + 1) else {
                    return Some(flow);
                };
                at + 8 + usize::from(units) * 4
            }
            44 => {
                let (Some(field), Some(id)) = (be16(bytes, at + 2), be32(bytes, at + 4)) else {
                    return Some(flow);
                };
                let offset = field & 0xfff8;
                let more = field & 1 != 0;
                flow.ip_id = Some(id);
                // An atomic fragment (offset 0, nothing more) is a whole packet (RFC 6946).
                flow.fragment = (offset != 0 || more).then_some((offset, more));
                at + 8
            }
            _ => break,
        };
        let Some(&protocol) = bytes.get(at) else {
            return Some(flow);
        };
        flow.protocol = protocol;
        at = next;
        if flow.fragment.is_some_and(|(offset, _)| offset != 0) {
            return Some(flow);
        }
    }
    transport(&mut flow, bytes, at, total);
    Some(flow)
}

/// Reads the header at `at`; `total` is the length of the IP packet.
fn transport(flow: &mut Flow, bytes: &[u8; PACKET_BYTES], at: usize, total: u32) {
    match flow.protocol {
        TCP => {
            flow.ports = ports(bytes, at);
            let (Some(seq), Some(ack), Some(&offset), Some(&bits)) = (
                be32(bytes, at + 4),
                be32(bytes, at + 8),
                bytes.get(at + 12),
                bytes.get(at + 13),
            ) else {
                return;
            };
            let headers = u32::try_from(at).unwrap_or(0) + u32::from(offset >> 4) * 4;
            flow.tcp = Some(TcpSegment {
                seq,
                ack,
                payload: total.saturating_sub(headers),
                flags: bits & 31,
            });
        }
        UDP | SCTP | UDP_LITE | DCCP => flow.ports = ports(bytes, at),
        ICMP | ICMPV6 => {
            if let (Some(&kind), Some(&code)) = (bytes.get(at), bytes.get(at + 1)) {
                flow.icmp = Some((kind, code));
            }
        }
        _ => {}
    }
}

fn ports(bytes: &[u8], at: usize) -> Option<(u16, u16)> {
    Some((be16(bytes, at)?, be16(bytes, at + 2)?))
}

#[cfg(test)]
mod tests;
