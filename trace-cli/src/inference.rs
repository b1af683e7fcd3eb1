//! Why a packet was dropped, where the kernel gives no reason (before 5.17): read off the function that dropped it.

/// Functions, and the reasons that later kernels give in them. Several where one function drops for several reasons:
/// then none of them is certain. From `kfree_skb_reason()` in Linux 5.17 to 6.12.
const REASONS: &[(&str, &str)] = &[
    ("nf_hook_slow", "NETFILTER_DROP"),
    ("__udp4_lib_rcv", "NO_SOCKET|UDP_CSUM|PKT_TOO_SMALL"),
    ("__udp6_lib_rcv", "NO_SOCKET|UDP_CSUM|PKT_TOO_SMALL"),
    (
        "udp_queue_rcv_one_skb",
        "SOCKET_RCVBUFF|UDP_CSUM|SOCKET_FILTER",
    ),
    (
        "udpv6_queue_rcv_one_skb",
        "SOCKET_RCVBUFF|UDP_CSUM|SOCKET_FILTER",
    ),
    ("tcp_v4_rcv", "NO_SOCKET|TCP_CSUM|SOCKET_FILTER"),
    ("tcp_v6_rcv", "NO_SOCKET|TCP_CSUM|SOCKET_FILTER"),
    ("tcp_v4_do_rcv", "TCP_CSUM"),
    ("tcp_v6_do_rcv", "TCP_CSUM"),
    ("ip_rcv_core", "OTHERHOST|IP_CSUM|IP_INHDR|PKT_TOO_SMALL"),
    ("ip6_rcv_core", "OTHERHOST|IPV6DISABLED|IP_INHDR"),
    (
        "ip_rcv_finish_core",
        "IP_RPFILTER|IP_INVALID_SOURCE|IP_LOCALNET|UNICAST_IN_L2_MULTICAST",
    ),
    ("ip_error", "IP_INNOROUTES|IP_INADDRERRORS"),
    ("ip6_pkt_discard", "IP_INNOROUTES|IP_INADDRERRORS"),
    ("ip6_pkt_drop", "IP_INNOROUTES|IP_INADDRERRORS"),
    ("ip_forward", "IP_INHDR|PKT_TOO_BIG|XFRM_POLICY"),
    (
        "ip6_forward",
        "IP_INHDR|PKT_TOO_BIG|IP_INADDRERRORS|XFRM_POLICY",
    ),
    ("ip_protocol_deliver_rcu", "IP_NOPROTO|XFRM_POLICY"),
    ("ip6_protocol_deliver_rcu", "IP_NOPROTO|XFRM_POLICY"),
    ("ip_finish_output2", "NEIGH_CREATEFAIL"),
    ("ip6_finish_output2", "NEIGH_CREATEFAIL"),
    ("__neigh_event_send", "NEIGH_QUEUEFULL|NEIGH_FAILED"),
    ("neigh_invalidate", "NEIGH_FAILED"),
    ("arp_error_report", "NEIGH_FAILED"),
    ("ndisc_error_report", "NEIGH_FAILED"),
    ("__dev_queue_xmit", "QDISC_DROP|TC_EGRESS"),
    ("__netif_receive_skb_core", "UNHANDLED_PROTO|TC_INGRESS"),
    ("enqueue_to_backlog", "CPU_BACKLOG"),
    ("do_xdp_generic", "XDP"),
];

/// The reasons that a drop in this function can have, joined by `|`; nothing where the function does not say.
pub fn reasons(function: &str) -> Option<&'static str> {
    // Compilers append `.constprop.0`, `.isra.0` and such.
    let plain = function.split('.').next()?;
    REASONS
        .iter()
        .find(|(name, _)| *name == plain)
        .map(|(_, reasons)| *reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_stands_for_its_reasons() {
        assert_eq!(reasons("nf_hook_slow"), Some("NETFILTER_DROP"));
        assert_eq!(reasons("neigh_invalidate.isra.0"), Some("NEIGH_FAILED"));
        assert_eq!(reasons("nf_hook_slow_list"), None);
    }

    #[test]
    fn no_function_has_two_lines() {
        let mut names: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS.len());
    }
}
