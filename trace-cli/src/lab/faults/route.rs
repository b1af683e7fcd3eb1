//! Packets that cannot be routed, or must not be.

use std::{net::IpAddr, thread, time::Duration};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_ttl,
    set_ipv6_mtu_discover, set_ipv6_unicast_hops,
};

use super::{Fault, counting, port, towards};
use crate::lab::{
    LabError, Pair, Router,
    traffic::{raw, udp},
};

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
    let packet = raw::Packet::udp((source, 40_000), (pair.addresses.v4(0, 2), port));
    raw::send(&pair.a, &packet, count).map(|()| count)
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
