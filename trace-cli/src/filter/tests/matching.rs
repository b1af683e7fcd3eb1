//! What matches and what does not.

use super::super::{Direction, Network, Subject};
use super::{address, parse, tcp};

fn check(name: &str, subject: &Subject<'_>, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert!(parse(text).matches(subject), "{name} matches {text}");
        assert!(
            !parse(&format!("not ({text})")).matches(subject),
            "{name} does not match not ({text})"
        );
    }
    for text in no {
        assert!(
            !parse(text).matches(subject),
            "{name} does not match {text}"
        );
        assert!(
            parse(&format!("not ({text})")).matches(subject),
            "{name} matches not ({text})"
        );
    }
}

#[test]
fn an_empty_filter_matches() {
    assert!(parse("").matches(&tcp()));
}

#[test]
fn a_tcp_packet() {
    check(
        "a TCP packet",
        &tcp(),
        &[
            "ip",
            "tcp",
            "proto 6",
            "ip proto tcp",
            "host 192.0.2.1",
            "host 198.51.100.2",
            "src 192.0.2.1",
            "ip dst 198.51.100.2",
            "net 192.0.2",
            "src net 192.0.2.0/24",
            "src and dst net 128.0.0.0/1",
            "net 192.0.0.1 mask 255.0.0.255",
            "port 443",
            "dst port https",
            "tcp src port 40000",
            "portrange 400-500",
            "less 1500",
            "greater 1500",
            "outbound",
            "direction transmit",
            "netns blue",
            "netns 4026531840",
            "process nginx",
            "pid 4711",
            "iface eth0",
            "iface veth0",
        ],
        &[
            "ip6",
            "arp",
            "udp",
            "icmp",
            "icmp6",
            "ip6 proto 6",
            "host 192.0.2.2",
            "dst 192.0.2.1",
            "ip6 host ::1",
            "src and dst host 192.0.2.1",
            "dst net 192.0.2.0/24",
            "net ::/0",
            "udp port 443",
            "src port 443",
            "port 80",
            "src and dst port 443",
            "portrange 444-500",
            "less 1499",
            "greater 1501",
            "inbound",
            "direction receive",
            "netns red",
            "netns 1",
            "process ngin",
            "pid 1",
            "iface eth",
        ],
    );
}

#[test]
fn what_is_missing_is_false() {
    let bare = Subject {
        ether_type: 0x0806,
        network: None,
        protocol: None,
        src: None,
        dst: None,
        src_port: None,
        dst_port: None,
        netns: &[],
        interfaces: &[],
        pid: None,
        process: None,
        ..tcp()
    };
    check(
        "a bare packet",
        &bare,
        &["arp"],
        &[
            "ip",
            "tcp",
            "host 192.0.2.1",
            "net 0/0",
            "port 443",
            "netns blue",
            "iface eth0",
            "pid 4711",
            "process nginx",
        ],
    );
}

#[test]
fn ports_need_a_protocol_that_has_them() {
    let gre = Subject {
        protocol: Some(47),
        ..tcp()
    };
    check("GRE", &gre, &["proto gre"], &["port 443", "tcp port 443"]);
    let sctp = Subject {
        protocol: Some(132),
        ..tcp()
    };
    check(
        "SCTP",
        &sctp,
        &["port 443", "sctp port 443"],
        &["tcp port 443"],
    );
}

#[test]
fn ipv6() {
    let icmp6 = Subject {
        ether_type: 0x86dd,
        network: Some(Network::V6),
        protocol: Some(58),
        src: Some(address("fe80::1")),
        dst: Some(address("ff02::1")),
        src_port: None,
        dst_port: None,
        ..tcp()
    };
    check(
        "an ICMPv6 packet",
        &icmp6,
        &[
            "ip6",
            "icmp6",
            "proto ipv6-icmp",
            "src fe80::1",
            "net fe80::/10",
            "dst net ff00::/8",
            "ip6 net ::/0",
        ],
        &[
            "ip",
            "icmp",
            "ip proto 58",
            "dst fe80::1",
            "src net ff00::/8",
            "net 0/0",
            "port 0",
        ],
    );
}

#[test]
fn the_network_counts_before_the_ether_type() {
    let unset = Subject {
        ether_type: 0,
        ..tcp()
    };
    check(
        "a packet above the IP layer",
        &unset,
        &["ip", "ip host 192.0.2.1"],
        &["ip6"],
    );
}

#[test]
fn directions() {
    let directions = [
        (Direction::Receive, true, false),
        (Direction::Transmit, false, true),
        (Direction::Forward, true, true),
        (Direction::Loop, true, true),
    ];
    for (direction, inbound, outbound) in directions {
        let subject = Subject { direction, ..tcp() };
        assert_eq!(parse("inbound").matches(&subject), inbound, "{direction}");
        assert_eq!(parse("outbound").matches(&subject), outbound, "{direction}");
        assert!(
            parse(&format!("direction {direction}")).matches(&subject),
            "{direction}"
        );
    }
}

#[test]
fn a_process_name_may_have_been_cut_by_the_kernel() {
    let cut = Subject {
        process: Some("systemd-resolve"),
        ..tcp()
    };
    check(
        "a cut name",
        &cut,
        &["process systemd-resolved", "process systemd-resolve"],
        &["process systemd"],
    );
}
