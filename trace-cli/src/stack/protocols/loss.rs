//! The counters that mean that something was lost, refused or sent again, and what each one means.

/// Counter and meaning; names as nstat has them (`include/uapi/linux/snmp.h`, `net/ipv4/proc.c`).
pub const LOSS: &[(&str, &str)] = &[
    (
        "IpInHdrErrors",
        "received with a broken IP header, or its TTL at an end",
    ),
    (
        "IpInAddrErrors",
        "received for an address that is not ours, and not forwarded",
    ),
    (
        "IpInUnknownProtos",
        "received for a protocol that nobody here speaks",
    ),
    ("IpInDiscards", "received whole, but dropped: no memory"),
    ("IpOutDiscards", "not sent: no memory, or no neighbour"),
    ("IpOutNoRoutes", "not sent: no route"),
    (
        "IpReasmTimeout",
        "fragments given up: the rest did not come in time",
    ),
    (
        "IpReasmFails",
        "packets that could not be put together from fragments",
    ),
    (
        "IpFragFails",
        "needed fragmenting, which was not allowed or not possible",
    ),
    (
        "IpExtInNoRoutes",
        "received, but there was no route onwards",
    ),
    (
        "IpExtInTruncatedPkts",
        "received shorter than their header says",
    ),
    ("IpExtInCsumErrors", "received with a wrong IP checksum"),
    ("IpExtReasmOverlaps", "fragments that overlap others"),
    (
        "Ip6InHdrErrors",
        "received with a broken IPv6 header, or its hop limit at an end",
    ),
    (
        "Ip6InTooBigErrors",
        "to be forwarded, but larger than the way's MTU",
    ),
    ("Ip6InNoRoutes", "received, but there was no route onwards"),
    (
        "Ip6InAddrErrors",
        "received for an address that is not ours, and not forwarded",
    ),
    (
        "Ip6InUnknownProtos",
        "received for a protocol that nobody here speaks",
    ),
    (
        "Ip6InTruncatedPkts",
        "received shorter than their header says",
    ),
    (
        "Ip6InDiscards",
        "received whole, but dropped: no memory, or not wanted",
    ),
    ("Ip6OutDiscards", "not sent: no memory, or no neighbour"),
    ("Ip6OutNoRoutes", "not sent: no route"),
    (
        "Ip6ReasmTimeout",
        "fragments given up: the rest did not come in time",
    ),
    (
        "Ip6ReasmFails",
        "packets that could not be put together from fragments",
    ),
    ("Ip6FragFails", "needed fragmenting, which was not possible"),
    ("IcmpInCsumErrors", "ICMP received with a wrong checksum"),
    (
        "IcmpOutRateLimitGlobal",
        "ICMP errors not sent: more than the machine may send",
    ),
    (
        "IcmpOutRateLimitHost",
        "ICMP errors not sent: more than one peer may get",
    ),
    ("TcpAttemptFails", "connections that did not come about"),
    ("TcpEstabResets", "connections reset"),
    ("TcpRetransSegs", "segments sent again"),
    ("TcpInErrs", "segments received broken"),
    ("TcpInCsumErrors", "segments received with a wrong checksum"),
    (
        "TcpExtListenOverflows",
        "connections refused: the listener's queue was full",
    ),
    (
        "TcpExtListenDrops",
        "connections refused by a listener, for whatever reason",
    ),
    (
        "TcpExtTCPBacklogDrop",
        "segments dropped: the socket was busy, and its backlog full",
    ),
    (
        "TcpExtPFMemallocDrop",
        "segments dropped: memory kept for emergencies",
    ),
    (
        "TcpExtTCPMinTTLDrop",
        "segments dropped: a TTL below what the socket asks for",
    ),
    (
        "TcpExtTCPDeferAcceptDrop",
        "bare ACKs ignored by a listener that waits for data",
    ),
    (
        "TcpExtTCPReqQFullDrop",
        "SYNs dropped: too many half-open connections",
    ),
    (
        "TcpExtTCPReqQFullDoCookies",
        "SYNs answered with a cookie: too many half-open connections",
    ),
    (
        "TcpExtTCPRcvQDrop",
        "segments dropped: the receive buffer was full",
    ),
    (
        "TcpExtTCPOFODrop",
        "segments out of order dropped: the receive buffer was full",
    ),
    (
        "TcpExtTCPZeroWindowDrop",
        "segments dropped: the window was shut",
    ),
    (
        "TcpExtRcvPruned",
        "times that a full receive buffer was thinned out",
    ),
    (
        "TcpExtPruneCalled",
        "times that a receive buffer was squeezed to make room",
    ),
    (
        "TcpExtOfoPruned",
        "segments out of order thrown away to make room",
    ),
    (
        "TcpExtTCPRcvCollapsed",
        "segments merged to make room in a receive buffer",
    ),
    (
        "TcpExtTCPAbortOnMemory",
        "connections broken off: no memory, or too many orphans",
    ),
    (
        "TcpExtTCPAbortOnTimeout",
        "connections broken off: no answer for too long",
    ),
    (
        "TcpExtTCPAbortOnData",
        "connections broken off: data came after the socket was closed",
    ),
    (
        "TcpExtTCPAbortOnClose",
        "connections broken off: closed with unread data",
    ),
    (
        "TcpExtTCPAbortOnLinger",
        "connections broken off: lingered too long",
    ),
    (
        "TcpExtTCPAbortFailed",
        "resets that could not be sent: no memory",
    ),
    (
        "TcpExtTCPMemoryPressures",
        "times that TCP came under memory pressure",
    ),
    (
        "TcpExtTCPTimeWaitOverflow",
        "TIME-WAITs cut short: too many",
    ),
    (
        "TcpExtTCPLostRetransmit",
        "segments lost again after they were sent again",
    ),
    (
        "TcpExtTCPTimeouts",
        "times that nothing was acknowledged until the timer ran out",
    ),
    (
        "TcpExtTCPLossProbes",
        "last segments sent again to find out whether they were lost",
    ),
    ("TcpExtTCPSynRetrans", "SYNs and SYN-ACKs sent again"),
    (
        "TcpExtTCPRetransFail",
        "segments that could not be sent again",
    ),
    ("TcpExtTCPSpuriousRTOs", "timeouts that were for nothing"),
    (
        "TcpExtTCPMD5NotFound",
        "segments without the signature that was asked for",
    ),
    (
        "TcpExtTCPMD5Unexpected",
        "segments with a signature that nobody asked for",
    ),
    ("TcpExtTCPMD5Failure", "segments with a wrong signature"),
    (
        "TcpExtPAWSEstab",
        "segments dropped: their timestamp was too old",
    ),
    (
        "TcpExtPAWSActive",
        "SYN-ACKs dropped: their timestamp was too old",
    ),
    (
        "TcpExtBeyondWindow",
        "segments dropped: outside of the window",
    ),
    (
        "TcpExtTSEcrRejected",
        "segments dropped: an echoed timestamp that we never sent",
    ),
    (
        "TcpExtTCPMTUPFail",
        "probes for a larger MTU that were lost",
    ),
    (
        "TcpExtIPReversePathFilter",
        "dropped by the reverse path filter",
    ),
    (
        "TcpExtTCPWqueueTooBig",
        "sends refused: too much waits to be sent again",
    ),
    ("UdpInErrors", "datagrams received broken, or not delivered"),
    (
        "UdpNoPorts",
        "datagrams received for a port that nobody listens on",
    ),
    (
        "UdpRcvbufErrors",
        "datagrams dropped: the socket's receive buffer was full",
    ),
    (
        "UdpSndbufErrors",
        "datagrams not sent: the socket's send buffer was full",
    ),
    (
        "UdpInCsumErrors",
        "datagrams received with a wrong checksum",
    ),
    (
        "UdpMemErrors",
        "datagrams dropped: UDP's memory was used up",
    ),
    (
        "Udp6InErrors",
        "datagrams received broken, or not delivered",
    ),
    (
        "Udp6NoPorts",
        "datagrams received for a port that nobody listens on",
    ),
    (
        "Udp6RcvbufErrors",
        "datagrams dropped: the socket's receive buffer was full",
    ),
    (
        "Udp6SndbufErrors",
        "datagrams not sent: the socket's send buffer was full",
    ),
    (
        "Udp6InCsumErrors",
        "datagrams received with a wrong checksum",
    ),
    (
        "Udp6MemErrors",
        "datagrams dropped: UDP's memory was used up",
    ),
    ("Icmp6InCsumErrors", "ICMPv6 received with a wrong checksum"),
    (
        "MPTcpExtMPCapableFallbackACK",
        "Multipath TCP connections that fell back to TCP",
    ),
];

/// What a counter means, if it means that something was lost.
pub fn meaning(name: &str) -> Option<&'static str> {
    LOSS.iter()
        .find(|(counter, _)| *counter == name)
        .map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::stack::{files::Files, protocols};

    #[test]
    fn each_counter_is_explained_once() {
        let names: BTreeSet<&str> = LOSS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), LOSS.len());
        assert!(meaning("TcpRetransSegs").is_some() && meaning("TcpInSegs").is_none());
    }

    /// A name that no kernel has would explain nothing. Few are so new, or so old, that this kernel lacks them.
    #[test]
    fn counters_are_spelt_as_the_kernel_does() {
        let Ok(protocols) = protocols::read(&Files::system()) else {
            return;
        };
        let has_ipv6 = protocols.get("Ip6InReceives").is_some();
        let unknown: Vec<&str> = LOSS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| has_ipv6 || !name.contains('6'))
            .filter(|name| !name.starts_with("MPTcp"))
            .filter(|name| protocols.get(name).is_none())
            .collect();
        assert!(unknown.len() < 12, "this kernel has no {unknown:?}");
    }
}
