//! The words of the language: ours, those of pcap-filter(7) that we do not have yet, and the nearest one to a misspelt word.

use super::ast::{Layer, Transport};

/// Words that can begin a primitive, and what joins primitives.
pub(super) const KEYWORDS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "ah",
    "esp",
    "pim",
    "vrrp",
    "src",
    "dst",
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "less",
    "greater",
    "inbound",
    "outbound",
    "direction",
    "netns",
    "process",
    "pid",
    "iface",
    "and",
    "or",
    "not",
];

/// Keywords of libpcap's scanner that we know and do not support yet.
const UNSUPPORTED: &[&str] = &[
    "aarp",
    "action",
    "addr1",
    "addr2",
    "addr3",
    "addr4",
    "address1",
    "address2",
    "address3",
    "address4",
    "atalk",
    "batadv",
    "bcc",
    "broadcast",
    "byte",
    "carp",
    "clnp",
    "connectmsg",
    "csnp",
    "decnet",
    "dir",
    "dpc",
    "es-is",
    "esis",
    "ether",
    "fddi",
    "fisu",
    "gateway",
    "geneve",
    "hdpc",
    "hfisu",
    "hlssu",
    "hmsu",
    "hopc",
    "hsio",
    "hsls",
    "icmp6code",
    "icmp6type",
    "icmpcode",
    "icmptype",
    "ifindex",
    "ifname",
    "igrp",
    "iih",
    "ilmic",
    "ipx",
    "is-is",
    "isis",
    "iso",
    "l1",
    "l2",
    "lane",
    "lat",
    "len",
    "length",
    "link",
    "llc",
    "lsp",
    "lssu",
    "lsu",
    "metac",
    "metaconnect",
    "mopdl",
    "moprc",
    "mpls",
    "msu",
    "multicast",
    "netbeui",
    "oam",
    "oamf4",
    "oamf4e",
    "oamf4ec",
    "oamf4s",
    "oamf4sc",
    "on",
    "opc",
    "ppp",
    "pppoed",
    "pppoes",
    "protochain",
    "psnp",
    "ra",
    "radio",
    "rarp",
    "reason",
    "rnr",
    "rset",
    "rulenum",
    "ruleset",
    "sc",
    "sca",
    "sio",
    "slip",
    "sls",
    "snp",
    "srnr",
    "stp",
    "subrulenum",
    "subtype",
    "ta",
    "tcpflags",
    "tr",
    "type",
    "vci",
    "vlan",
    "vpi",
    "vxlan",
    "wlan",
];

/// What stands for a protocol, alone or before other words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProtocolWord {
    Layer(Layer),
    Transport(Transport),
    /// Stands alone only; pcap gives some of them over one network protocol only.
    Other(Option<Layer>, u8),
}

pub(super) fn protocol_word(word: &str) -> Option<ProtocolWord> {
    Some(match word {
        "ip" => ProtocolWord::Layer(Layer::Ip),
        "ip6" => ProtocolWord::Layer(Layer::Ip6),
        "arp" => ProtocolWord::Layer(Layer::Arp),
        "tcp" => ProtocolWord::Transport(Transport::Tcp),
        "udp" => ProtocolWord::Transport(Transport::Udp),
        "sctp" => ProtocolWord::Transport(Transport::Sctp),
        "icmp" => ProtocolWord::Other(Some(Layer::Ip), 1),
        "igmp" => ProtocolWord::Other(Some(Layer::Ip), 2),
        "vrrp" => ProtocolWord::Other(Some(Layer::Ip), 112),
        "icmp6" => ProtocolWord::Other(Some(Layer::Ip6), 58),
        "esp" => ProtocolWord::Other(None, 50),
        "ah" => ProtocolWord::Other(None, 51),
        "pim" => ProtocolWord::Other(None, 103),
        _ => return None,
    })
}

/// The number of an IP protocol that `proto` knows by name.
pub(super) fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, number)| number)
}

/// Names after `proto`, with their IANA numbers.
pub(super) const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

pub(super) fn is_unsupported(word: &str) -> bool {
    // Values of packet bytes, such as `tcp-syn` and `icmp6-echo`, are only good for the arithmetic that we do not have.
    let value = word
        .split_once('-')
        .is_some_and(|(protocol, _)| matches!(protocol, "tcp" | "icmp" | "icmp6"));
    value || UNSUPPORTED.contains(&word)
}

/// The candidate that `word` is most likely a slip of.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let allowed = if lower.chars().count() <= 3 { 1 } else { 2 };
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= allowed && distance < candidate.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The keyword of ours that `word` is one slip away from.
pub(super) fn slip(word: &str) -> Option<&'static str> {
    nearest(word, KEYWORDS.iter().copied())
        .filter(|near| strsim::osa_distance(&word.to_lowercase(), near) <= 1)
}

/// Every word that may begin a primitive in pcap or here.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().chain(UNSUPPORTED).copied()
}
