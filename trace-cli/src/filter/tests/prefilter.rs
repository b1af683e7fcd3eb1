//! What is necessary, and what is not.

use super::super::{Prefilter, Rewriting};
use super::{address, parse, tcp};

#[test]
fn necessary_conditions() {
    let none = Prefilter::default();
    let table = [
        ("empty", "", none),
        (
            "ip",
            "ip",
            Prefilter {
                ether_type: Some(0x0800),
                ..none
            },
        ),
        (
            "tcp",
            "tcp",
            Prefilter {
                protocol: Some(6),
                ..none
            },
        ),
        (
            "icmp",
            "icmp",
            Prefilter {
                ether_type: Some(0x0800),
                protocol: Some(1),
                ..none
            },
        ),
        (
            "port",
            "port 53",
            Prefilter {
                port: Some(53),
                ..none
            },
        ),
        (
            "tcp port",
            "tcp src port 80",
            Prefilter {
                protocol: Some(6),
                port: Some(80),
                ..none
            },
        ),
        (
            "portrange",
            "udp portrange 1-2",
            Prefilter {
                protocol: Some(17),
                ..none
            },
        ),
        (
            "host",
            "dst host 192.0.2.1",
            Prefilter {
                host: Some(address("192.0.2.1")),
                ..none
            },
        ),
        (
            "net",
            "ip6 net ::/0",
            Prefilter {
                ether_type: Some(0x86dd),
                ..none
            },
        ),
        (
            "netns inode",
            "netns 7",
            Prefilter {
                netns: Some(7),
                ..none
            },
        ),
        ("netns name", "netns blue", none),
        (
            "and joins",
            "tcp and port 80 and host ::1",
            Prefilter {
                protocol: Some(6),
                port: Some(80),
                host: Some(address("::1")),
                ..none
            },
        ),
        (
            "and of two hosts keeps one",
            "host ::1 and ::2",
            Prefilter {
                host: Some(address("::1")),
                ..none
            },
        ),
        (
            "or keeps what is common",
            "tcp port 80 or 443",
            Prefilter {
                protocol: Some(6),
                ..none
            },
        ),
        ("or of the unrelated", "tcp or port 53", none),
        ("not", "not tcp", none),
        (
            "not not",
            "not not tcp",
            Prefilter {
                protocol: Some(6),
                ..none
            },
        ),
        (
            "not or",
            "not (not tcp or not port 80)",
            Prefilter {
                protocol: Some(6),
                port: Some(80),
                ..none
            },
        ),
        ("not and", "not (not tcp and not udp)", none),
        (
            "the rest",
            "less 5 and inbound and process a and pid 1 and iface b and direction loop",
            none,
        ),
    ];
    for (name, text, expected) in table {
        assert_eq!(parse(text).prefilter(), expected, "{name}: {text}");
    }
    assert!(none.is_empty());
}

#[test]
fn what_is_unknown_passes() {
    let all = parse("ip and tcp port 80 and host 192.0.2.9 and netns 7").prefilter();
    let mut fragment = tcp();
    assert!(!all.accepts(&fragment));
    (
        fragment.src_port,
        fragment.dst_port,
        fragment.dst,
        fragment.protocol,
        fragment.netns,
    ) = (None, None, None, None, &[]);
    assert!(all.accepts(&fragment));
}

#[test]
fn rewriting_weakens() {
    let all = parse("ip and tcp port 80 and host 192.0.2.9 and netns 7").prefilter();
    let nat = all.despite(Rewriting {
        nat: true,
        ..Rewriting::default()
    });
    assert_eq!(
        nat,
        Prefilter {
            port: None,
            host: None,
            ..all
        }
    );
    let tunnels = all.despite(Rewriting {
        tunnels: true,
        ..Rewriting::default()
    });
    assert_eq!(
        tunnels,
        Prefilter {
            netns: Some(7),
            ..Prefilter::default()
        }
    );
    let namespaces = all.despite(Rewriting {
        namespaces: true,
        ..Rewriting::default()
    });
    assert_eq!(namespaces, Prefilter { netns: None, ..all });
    assert_eq!(all.despite(Rewriting::default()), all);
}
