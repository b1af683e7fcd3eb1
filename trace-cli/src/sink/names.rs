//! The words of the glossary, as all output has them.

use std::borrow::Cow;

use crate::journey::model::{Direction, LinkKind, Outcome, StageState, Unfinished};

/// A direction's identifier.
pub const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Receive => "receive",
        Direction::Transmit => "transmit",
        Direction::Forward => "forward",
        Direction::Loop => "loop",
    }
}

/// An outcome's identifier.
pub const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Sent => "sent",
        Outcome::Forwarded => "forwarded",
        Outcome::Dropped => "dropped",
        Outcome::Consumed => "consumed",
        Outcome::Unfinished(_) => "unfinished",
    }
}

/// Why an outcome is unfinished; `None` when it is not.
pub const fn unfinished(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Unfinished(why) => Some(match why {
            Unfinished::Aged => "aged",
            Unfinished::Evicted => "evicted",
            Unfinished::TraceEnded => "trace_ended",
            Unfinished::AddressReused => "address_reused",
            Unfinished::RecordLost => "record_lost",
        }),
        _ => None,
    }
}

/// The same for people.
pub const fn unfinished_meaning(why: Unfinished) -> &'static str {
    match why {
        Unfinished::Aged => "nothing was heard of it any more",
        Unfinished::Evicted => "too many journeys were open",
        Unfinished::TraceEnded => "the trace ended first",
        Unfinished::AddressReused => "its end is not visible on this kernel",
        Unfinished::RecordLost => "a part of it was lost",
    }
}

/// A stage state's identifier.
pub const fn state(state: StageState) -> &'static str {
    match state {
        StageState::Measured => "measured",
        StageState::Gap => "gap",
    }
}

/// A link's identifier.
pub const fn link(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::CloneOf => "clone_of",
        LinkKind::MergedInto => "merged_into",
        LinkKind::SplitFrom => "split_from",
        LinkKind::RetransmitOf => "retransmit_of",
    }
}

/// An IP protocol's name in lower case; its number where it has none here.
pub fn protocol(number: u8) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        132 => "sctp",
        136 => "udplite",
        other => return Cow::Owned(other.to_string()),
    })
}

/// An Ethernet type's name, for packets without IP headers.
pub fn ether_type(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0x0800 => "ipv4",
        0x0806 => "arp",
        0x86dd => "ipv6",
        0x8100 => "vlan",
        0x8847 => "mpls",
        0x8863 | 0x8864 => "pppoe",
        0x88cc => "lldp",
        other => return Cow::Owned(format!("ether type {other:#06x}")),
    })
}

/// TCP flags as words, in the header's order.
pub fn tcp_flags(flags: u8) -> impl Iterator<Item = &'static str> {
    ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"]
        .into_iter()
        .enumerate()
        .filter_map(move |(bit, name)| (flags >> bit & 1 == 1).then_some(name))
}
