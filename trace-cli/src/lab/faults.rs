//! Packets that the kernel must drop, an exact number each, with what the kernel itself counted.
//!
//! A fault is made with what an operator would meet: a closed port, a rule, a missing route, a full buffer.

use std::{net::IpAddr, thread, time::Duration};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_ttl,
    set_ipv6_mtu_discover, set_ipv6_unicast_hops, set_socket_recv_buffer_size,
};

use super::{
    LabError, Netns, Pair, Router,
    counters::{self, Counters},
    traffic::{raw, udp},
};

/// Ports that nobody listens to in a namespace of ours: one for each fault, so that they can be told apart.
mod port {
    pub(super) const CLOSED_UDP: u16 = 9001;
    pub(super) const CLOSED_TCP: u16 = 9002;
    pub(super) const PREROUTING: u16 = 9011;
    pub(super) const INPUT: u16 = 9012;
    pub(super) const FORWARD: u16 = 9013;
    pub(super) const OUTPUT: u16 = 9014;
    pub(super) const POSTROUTING: u16 = 9015;
    pub(super) const NO_ROUTE: u16 = 9021;
    pub(super) const TTL: u16 = 9022;
    pub(super) const TOO_BIG: u16 = 9023;
    pub(super) const REVERSE_PATH: u16 = 9031;
    pub(super) const MARTIAN: u16 = 9032;
    pub(super) const NO_NEIGHBOUR: u16 = 9041;
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Destination port of the packets.
    pub port: u16,
    /// Packets that had to be dropped.
    pub dropped: u64,
    /// Packets that the kernel says it dropped, where it counts them.
    pub counted: Option<u64>,
}

/// Does something and reads how much a counter of `netns` grew by it.
fn counting(
    port: u16,
    netns: &Netns,
    counter: &str,
    work: impl FnOnce() -> Result<u64, LabError>,
) -> Result<Fault, LabError> {
    let before = Counters::read(netns)?;
    let dropped = work()?;
    let after = Counters::read(netns)?;
    Ok(Fault {
        port,
        dropped,
        counted: Some(after.since(&before, counter)),
    })
}

/// A socket in `from` that sends to a port of `to`.
fn towards(
    from: &Netns,
    source: IpAddr,
    to: IpAddr,
    port: u16,
) -> Result<std::net::UdpSocket, LabError> {
    let socket = udp::socket(from, source)?;
    socket
        .connect((to, port))
        .map_err(LabError::io(format!("connect to {to}")))?;
    Ok(socket)
}

/// Datagrams from `a` to a port of `b` that nobody listens to.
pub fn closed_udp_port(pair: &Pair, v6: bool, count: u64) -> Result<Fault, LabError> {
    let ((source, to), counter) = if v6 {
        (pair.v6(), "Udp6NoPorts")
    } else {
        (pair.v4(), "UdpNoPorts")
    };
    let socket = towards(&pair.a, source, to, port::CLOSED_UDP)?;
    counting(port::CLOSED_UDP, &pair.b, counter, || {
        Ok(udp::send(&socket, count, 32))
    })
}

/// SYNs from `a` to a port of `b` that nobody listens to.
pub fn closed_tcp_port(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    let (source, to) = pair.v4();
    counting(port::CLOSED_TCP, &pair.b, "TcpOutRsts", || {
        for _ in 0..count {
            let refused = pair
                .a
                .enter(|| Ok(std::net::TcpStream::connect((to, port::CLOSED_TCP))))?;
            if refused.is_ok() {
                return Err(LabError::Traffic(format!("{to} answers {source}")));
            }
        }
        Ok(count)
    })
}

/// Datagrams from `a` to `b`, dropped by an nft rule in `b` (`prerouting`, `input`) or in `a` (`output`,
/// `postrouting`).
pub fn nft(pair: &Pair, hook: &str, count: u64) -> Result<Fault, LabError> {
    let (netns, port) = match hook {
        "prerouting" => (&pair.b, port::PREROUTING),
        "input" => (&pair.b, port::INPUT),
        "output" => (&pair.a, port::OUTPUT),
        _ => (&pair.a, port::POSTROUTING),
    };
    let (source, to) = pair.v4();
    refused(
        netns,
        hook,
        &towards(&pair.a, source, to, port)?,
        port,
        count,
    )
}

/// Datagrams from `a` to `b`, dropped by an nft rule in the router's `forward` hook.
pub fn nft_forward(router: &Router, count: u64) -> Result<Fault, LabError> {
    let (source, to) = router.v4();
    let socket = towards(&router.a, source, to, port::FORWARD)?;
    refused(&router.router, "forward", &socket, port::FORWARD, count)
}

/// Adds a rule that drops datagrams to a port in one hook, sends such datagrams, and removes the rule.
fn refused(
    netns: &Netns,
    hook: &str,
    socket: &std::net::UdpSocket,
    port: u16,
    count: u64,
) -> Result<Fault, LabError> {
    netns.nft(&format!(
        "add table inet refuse\n\
         add chain inet refuse {hook} {{ type filter hook {hook} priority 0; }}\n\
         add rule inet refuse {hook} udp dport {port} counter drop\n"
    ))?;
    udp::send(socket, count, 32);
    let counted = counters::nft_counter(netns)?;
    netns.nft("delete table inet refuse\n")?;
    Ok(Fault {
        port,
        dropped: count,
        counted: Some(counted),
    })
}

/// Datagrams to an address for which the router has no route.
pub fn no_route(router: &Router, v6: bool, count: u64) -> Result<Fault, LabError> {
    let ((source, _), to, counter) = if v6 {
        (
            router.v6(),
            IpAddr::from([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1]),
            "Ip6InNoRoutes",
        )
    } else {
        (
            router.v4(),
            IpAddr::from([203, 0, 113, 1]),
            "IpExtInNoRoutes",
        )
    };
    let socket = towards(&router.a, source, to, port::NO_ROUTE)?;
    counting(port::NO_ROUTE, &router.router, counter, || {
        udp::send(&socket, count, 32);
        Ok(count)
    })
}

/// Datagrams whose time to live ends at the router.
pub fn ttl_exceeded(router: &Router, v6: bool, count: u64) -> Result<Fault, LabError> {
    let ((source, to), counter) = if v6 {
        (router.v6(), "Ip6InHdrErrors")
    } else {
        (router.v4(), "IpInHdrErrors")
    };
    let socket = towards(&router.a, source, to, port::TTL)?;
    if v6 {
        set_ipv6_unicast_hops(&socket, Some(1))
    } else {
        set_ip_ttl(&socket, 1)
    }
    .map_err(LabError::io("set the time to live"))?;
    counting(port::TTL, &router.router, counter, || {
        udp::send(&socket, count, 32);
        Ok(count)
    })
}

/// Datagrams with "don't fragment" that are too big for the router's second wire.
pub fn too_big(router: &Router, v6: bool, count: u64) -> Result<Fault, LabError> {
    router.router.ip("link set rb mtu 1280\n")?;
    let ((source, to), counter) = if v6 {
        (router.v6(), "Ip6InTooBigErrors")
    } else {
        (router.v4(), "IpFragFails")
    };
    let socket = towards(&router.a, source, to, port::TOO_BIG)?;
    // PROBE: "don't fragment", whatever the router answers.
    if v6 {
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)
    } else {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)
    }
    .map_err(LabError::io("forbid fragments"))?;
    counting(port::TOO_BIG, &router.router, counter, || {
        udp::send(&socket, count, 1400);
        Ok(count)
    })
}

/// Datagrams or SYNs from `a` to a port of `b` that is listened to, with a wrong transport checksum.
pub fn bad_checksum(pair: &Pair, transport: raw::Transport, count: u64) -> Result<Fault, LabError> {
    let (_, to) = pair.v4();
    let listener = udp::socket(&pair.b, to)?;
    let port = listener
        .local_addr()
        .map_err(LabError::io("ask for a socket's address"))?
        .port();
    let packet = raw::Packet {
        transport,
        bad_checksum: true,
        ..raw::Packet::udp(
            (pair.addresses.v4(0, 1), 40_000),
            (pair.addresses.v4(0, 2), port),
        )
    };
    let counter = match transport {
        raw::Transport::Udp => "UdpInCsumErrors",
        raw::Transport::TcpSyn => "TcpInCsumErrors",
    };
    counting(port, &pair.b, counter, || {
        raw::send(&pair.a, &packet, count).map(|()| count)
    })
}

/// Datagrams with a forged sender, which `b`'s strict reverse path filter refuses.
pub fn reverse_path(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    let counter = "TcpExtIPReversePathFilter";
    pair.b.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
    let fault = counting(port::REVERSE_PATH, &pair.b, counter, || {
        forged(pair, [203, 0, 113, 9], port::REVERSE_PATH, count)
    })?;
    pair.b.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    Ok(fault)
}

/// Datagrams that come over the wire and claim to be from the receiver's own loopback. The kernel counts these
/// nowhere.
pub fn martian(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    Ok(Fault {
        port: port::MARTIAN,
        dropped: forged(pair, [127, 0, 0, 1], port::MARTIAN, count)?,
        counted: None,
    })
}

fn forged(pair: &Pair, source: [u8; 4], port: u16, count: u64) -> Result<u64, LabError> {
    let packet = raw::Packet::udp((source.into(), 40_000), (pair.addresses.v4(0, 2), port));
    raw::send(&pair.a, &packet, count).map(|()| count)
}

/// Datagrams to a socket that holds few and that nobody reads meanwhile. Those it held are read afterwards.
pub fn full_socket(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    let (source, to) = pair.v4();
    let flow = udp::Flow::open(&pair.a, source, &pair.b, to)?;
    set_socket_recv_buffer_size(&flow.receiver, 4096).map_err(LabError::io("set SO_RCVBUF"))?;
    counting(flow.port()?, &pair.b, "UdpRcvbufErrors", || {
        let sent = flow.send_unread(count, 512);
        Ok(sent - flow.drain(Duration::from_millis(50))?)
    })
}

/// Datagrams into a token bucket that holds few. What it held arrives and is read.
pub fn full_qdisc(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    pair.a
        .tc("qdisc add dev a0 root tbf rate 1mbit burst 2000 limit 10000")?;
    let (source, to) = pair.v4();
    let flow = udp::Flow::open(&pair.a, source, &pair.b, to)?;
    flow.send_unread(count, 1000);
    // 10,000 bytes at 1 Mbit/s are gone after 80 ms.
    let read = flow.drain(Duration::from_millis(500))?;
    let counted = counters::qdisc_drops(&pair.a, "a0")?;
    pair.a.tc("qdisc del dev a0 root")?;
    Ok(Fault {
        port: flow.port()?,
        dropped: count - read,
        counted: Some(counted),
    })
}

/// Datagrams to a host of the subnet that does not exist: some are pushed out of the neighbour's queue, the rest
/// are given up with it.
pub fn no_neighbour(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    pair.a
        .sysctl("net/ipv4/neigh/a0/unres_qlen_bytes", "4096")?;
    pair.a.sysctl("net/ipv4/neigh/a0/retrans_time_ms", "100")?;
    let (source, _) = pair.v4();
    let nobody = IpAddr::V4(pair.addresses.v4(0, 77));
    let socket = towards(&pair.a, source, nobody, port::NO_NEIGHBOUR)?;
    let sent = udp::send(&socket, count, 512);
    // Three questions, 100 ms apart.
    thread::sleep(Duration::from_millis(1000));
    Ok(Fault {
        port: port::NO_NEIGHBOUR,
        dropped: sent,
        counted: None,
    })
}
