//! Properties of random filters and packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::ast::{End, Expr, Layer, Net, Primitive, Transport};
use super::super::{Direction, Filter, Network, Subject};

/// Few enough values that random filters and packets often meet.
fn addresses() -> impl Strategy<Value = IpAddr> + Clone {
    select(
        ["192.0.2.1", "192.0.2.2", "10.0.0.1", "::1", "2001:db8::1"]
            .map(super::address)
            .to_vec(),
    )
}

fn v4_net() -> impl Strategy<Value = Net> {
    (
        select(vec![0xc000_0201, 0x0a00_0001]),
        any::<u32>(),
        0..=32_u32,
        any::<bool>(),
    )
        .prop_map(|(address, mask, bits, holes)| {
            let mask = if holes {
                mask
            } else {
                u32::MAX.checked_shl(32 - bits).unwrap_or(0)
            };
            Net::V4 {
                address: Ipv4Addr::from_bits(address & mask),
                mask: Ipv4Addr::from_bits(mask),
            }
        })
}

fn v6_net() -> impl Strategy<Value = Net> {
    (select(vec![1, 0x2001_0db8_u128 << 96 | 1]), 0..=128_u8).prop_map(|(address, prefix)| {
        Net::V6 {
            address: Ipv6Addr::from_bits(
                address & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0),
            ),
            prefix,
        }
    })
}

fn layer_for(v6: bool, which: u8) -> Option<Layer> {
    match (which, v6) {
        (0, false) => Some(Layer::Ip),
        (1, false) => Some(Layer::Arp),
        (0, true) => Some(Layer::Ip6),
        _ => None,
    }
}

fn primitive() -> impl Strategy<Value = Primitive> {
    let ends = || select(vec![End::Source, End::Destination, End::Either, End::Both]);
    let names = || {
        prop_oneof![
            select(vec!["blue", "and", "7", ""]).prop_map(str::to_owned),
            "\\PC{0,12}"
        ]
    };
    prop_oneof![
        select(vec![Layer::Ip, Layer::Ip6, Layer::Arp]).prop_map(Primitive::Layer),
        (
            option::of(select(vec![Layer::Ip, Layer::Ip6])),
            select(vec![1, 6, 17, 58, 132])
        )
            .prop_map(|(layer, number)| Primitive::Protocol { layer, number }),
        (0..3_u8, ends(), addresses()).prop_map(|(which, end, address)| Primitive::Host {
            layer: layer_for(address.is_ipv6(), which),
            end,
            address
        }),
        (0..3_u8, ends(), prop_oneof![v4_net(), v6_net()]).prop_map(|(which, end, net)| {
            Primitive::Net {
                layer: layer_for(matches!(net, Net::V6 { .. }), which),
                end,
                net,
            }
        }),
        (
            option::of(select(Transport::ALL.to_vec())),
            ends(),
            50..54_u16,
            0..2_u16
        )
            .prop_map(|(transport, end, first, more)| Primitive::Port {
                transport,
                end,
                first,
                last: first + more
            }),
        (60..70_u32).prop_map(Primitive::Less),
        (60..70_u32).prop_map(Primitive::Greater),
        Just(Primitive::Inbound),
        Just(Primitive::Outbound),
        directions().prop_map(Primitive::Direction),
        names().prop_map(Primitive::NetnsName),
        (1..4_u32).prop_map(Primitive::NetnsInode),
        names().prop_map(Primitive::Process),
        (1..4_u32).prop_map(Primitive::Pid),
        names().prop_map(Primitive::Interface),
    ]
}

fn directions() -> impl Strategy<Value = Direction> {
    select(vec![
        Direction::Receive,
        Direction::Transmit,
        Direction::Forward,
        Direction::Loop,
    ])
}

fn filters() -> impl Strategy<Value = Filter> {
    let exprs = primitive()
        .prop_map(Expr::Primitive)
        .prop_recursive(6, 32, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(Expr::negate),
                (inner.clone(), inner.clone()).prop_map(|(left, right)| Expr::and(left, right)),
                (inner.clone(), inner).prop_map(|(left, right)| Expr::or(left, right)),
            ]
        });
    option::weighted(0.95, exprs).prop_map(Filter)
}

prop_compose! {
    fn subjects()(
        (ether_type, network) in select(vec![
            (0, None), (0x0806, None), (0, Some(Network::V4)), (0x8100, Some(Network::V6)), (0x0800, Some(Network::V4)),
        ]),
        protocol in option::of(select(vec![1, 6, 17, 58, 132])),
        (src, dst) in (option::of(addresses()), option::of(addresses())),
        (src_port, dst_port) in (option::of(50..54_u16), option::of(50..54_u16)),
        len in 60..70_u32,
        direction in directions(),
        netns in select(vec![&[][..], &[(1, None)], &[(2, Some("blue"))], &[(1, Some("7")), (3, None)]]),
        interfaces in select(vec![&[][..], &["blue"], &["and", "7"]]),
        pid in option::of(1..4_u32),
        process in option::of(select(vec!["blue", "and", ""])),
    ) -> Subject<'static> {
        Subject {
            ether_type, network, protocol, src, dst, src_port, dst_port, len, direction, netns, interfaces, pid, process,
        }
    }
}

/// Loose words of the language, to reach its errors.
fn soup() -> impl Strategy<Value = String> {
    let words = [
        "tcp",
        "ip",
        "port",
        "host",
        "net",
        "src",
        "dst",
        "or",
        "and",
        "not",
        "(",
        ")",
        "80",
        "::1",
        "192.0.2.0",
        "/",
        "24",
        "mask",
        "portrange",
        "80-90",
        "proto",
        "iface",
        "eth0",
        "process",
        "\"",
        "less",
        "ether",
        "[",
        "&",
        "&&",
        "tpc",
        "é",
        "\t",
        "é漢",
        "direction",
        "loop",
        "0x",
        "09",
        "\\tcp",
        "netns",
    ];
    prop_oneof![
        vec(select(words.to_vec()), 0..12).prop_map(|words| words.join(" ")),
        "\\PC{0,40}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_parses_to_the_same_filter(filter in filters()) {
        prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }

    #[test]
    fn what_matches_passes_the_prefilter(filter in filters(), subject in subjects()) {
        prop_assert!(!filter.matches(&subject) || filter.prefilter().accepts(&subject), "{}: {:?}", filter, subject);
    }

    #[test]
    fn any_text_parses_or_has_an_error_in_place(text in soup()) {
        match Filter::parse(&text) {
            Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter)),
            Err(error) => {
                prop_assert!(text.get(error.span()).is_some());
                prop_assert!(error.to_string().contains('^'));
            }
        }
    }
}

#[test]
fn deep_expressions_are_refused_not_fatal() {
    let alternating = (0..100_000)
        .map(|n| if n % 2 == 0 { "ip and " } else { "ip or " })
        .collect::<String>()
        + "ip";
    for text in [
        "(".repeat(100_000),
        "not ".repeat(100_000) + "ip",
        "port ".to_owned() + &"(".repeat(100_000),
        alternating,
    ] {
        let error = Filter::parse(&text).expect_err("too deep");
        assert_eq!(
            error.message(),
            "the expression nests deeper than 128 levels here"
        );
    }
    let long = "ip or ".repeat(100_000) + "ip";
    assert!(Filter::parse(&long).is_ok());
    let deepest = "not (".repeat(64) + "ip" + &")".repeat(64);
    let filter = Filter::parse(&deepest).expect("deep enough");
    assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
}
