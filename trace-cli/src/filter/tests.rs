//! Tests of the filter language as a whole; each table row has its case's name.

mod canonical;
mod docs;
mod errors;
mod matching;
mod prefilter;
mod properties;
mod tcpdump;

use std::net::IpAddr;

use super::{Direction, Filter, Network, Subject};

/// 192.0.2.1:40000 → 198.51.100.2:443 over TCP, from nginx in the namespace `blue`.
fn tcp() -> Subject<'static> {
    Subject {
        ether_type: 0x0800,
        network: Some(Network::V4),
        protocol: Some(6),
        src: Some(address("192.0.2.1")),
        dst: Some(address("198.51.100.2")),
        src_port: Some(40000),
        dst_port: Some(443),
        len: 1500,
        direction: Direction::Transmit,
        netns: &[(4_026_531_840, Some("blue"))],
        interfaces: &["veth0", "eth0"],
        pid: Some(4711),
        process: Some("nginx"),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn parse(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{error}"))
}
