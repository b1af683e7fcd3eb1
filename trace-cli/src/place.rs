//! Where in the kernel a drop happened, read off its stack: the functions say more than the stamps where few hooks
//! could be attached, and all there is when only drops are traced.

use crate::{
    dictionary::Dictionary,
    journey::{model::Drop, stage::StageName as S},
};

/// Functions and the stage that they are in. A name ending in `*` stands for all that begin so.
const FUNCTIONS: &[(&str, S)] = &[
    ("tcp_v4_rcv", S::Transport),
    ("tcp_v6_rcv", S::Transport),
    ("tcp_v4_do_rcv", S::Transport),
    ("tcp_v6_do_rcv", S::Transport),
    ("tcp_rcv_*", S::Transport),
    ("tcp_data_queue*", S::Transport),
    ("udp_*rcv*", S::Transport),
    ("udp_rcv", S::Transport),
    ("udp_queue_rcv_*", S::Transport),
    ("udp_unicast_rcv_skb", S::Transport),
    ("udpv6_*", S::Transport),
    ("__udp4_lib_rcv", S::Transport),
    ("__udp6_lib_rcv", S::Transport),
    ("icmp_rcv", S::Transport),
    ("icmpv6_rcv", S::Transport),
    ("ping_rcv", S::Transport),
    ("raw_*rcv*", S::Transport),
    ("raw_rcv", S::Transport),
    ("ip_protocol_deliver_rcu", S::Transport),
    ("ip6_protocol_deliver_rcu", S::Transport),
    ("ip_forward*", S::Forward),
    ("ip6_forward*", S::Forward),
    ("ip_local_deliver*", S::Input),
    ("ip6_input*", S::Input),
    ("ip_error", S::Routing),
    ("ip_rcv_finish*", S::Routing),
    ("ip6_rcv_finish*", S::Routing),
    ("ip_route_input*", S::Routing),
    ("ip6_pkt_d*", S::Routing),
    ("ip6_pkt_prohibit*", S::Routing),
    ("ip_rcv*", S::Ip),
    ("ip6_rcv*", S::Ip),
    ("ipv6_rcv", S::Ip),
    ("ip_sublist_rcv*", S::Ip),
    ("ip_list_rcv", S::Ip),
    ("neigh_*", S::Neighbour),
    ("__neigh_*", S::Neighbour),
    ("arp_*", S::Neighbour),
    ("ndisc_*", S::Neighbour),
    ("ip_finish_output*", S::Neighbour),
    ("ip6_finish_output*", S::Neighbour),
    ("ip_fragment*", S::Neighbour),
    ("ip_do_fragment", S::Neighbour),
    ("ip6_fragment", S::Neighbour),
    ("ip_output", S::Postrouting),
    ("ip6_output", S::Postrouting),
    ("ip_mc_output", S::Postrouting),
    ("dev_qdisc_enqueue", S::Qdisc),
    ("__qdisc_run", S::Qdisc),
    ("__dev_xmit_skb", S::Qdisc),
    ("*_enqueue", S::Qdisc),
    ("dev_hard_start_xmit", S::Driver),
    ("sch_direct_xmit", S::Driver),
    ("__dev_queue_xmit", S::DevQueue),
    ("validate_xmit_skb*", S::DevQueue),
    ("__ip_local_out", S::IpOutput),
    ("ip_local_out", S::IpOutput),
    ("ip6_local_out", S::IpOutput),
    ("__ip_queue_xmit", S::IpOutput),
    ("ip6_xmit", S::IpOutput),
    ("tcf_classify", S::TcIngress),
    ("do_xdp_generic", S::TcIngress),
    ("enqueue_to_backlog", S::NapiSchedule),
    ("netif_rx*", S::NapiSchedule),
    ("dev_gro_receive", S::Gro),
    ("napi_gro_*", S::Gro),
    ("__netif_receive_skb*", S::Receive),
    ("netif_receive_skb*", S::Receive),
    ("tcp_sendmsg*", S::SocketWrite),
    ("udp_sendmsg", S::Send),
    ("udpv6_sendmsg", S::Send),
    ("inet_sendmsg", S::Send),
    ("inet6_sendmsg", S::Send),
];

/// Callers of `nf_hook_slow`, each for one netfilter hook.
const NETFILTER: &[(&str, S)] = &[
    ("ip_rcv*", S::Prerouting),
    ("ipv6_rcv", S::Prerouting),
    ("ip6_rcv*", S::Prerouting),
    ("ip_list_rcv", S::Prerouting),
    ("ip_sublist_rcv*", S::Prerouting),
    ("nf_hook_slow_list", S::Prerouting),
    ("ip_local_deliver", S::Input),
    ("ip6_input", S::Input),
    ("ip_forward", S::Forward),
    ("ip6_forward", S::Forward),
    ("__ip_local_out", S::Output),
    ("ip_local_out", S::Output),
    ("__ip6_local_out", S::Output),
    ("ip6_local_out", S::Output),
    ("ip6_xmit", S::Output),
    ("raw_sendmsg", S::Output),
    ("rawv6_sendmsg", S::Output),
    ("ip_push_pending_frames", S::Output),
    ("ip_output", S::Postrouting),
    ("ip6_output", S::Postrouting),
];

/// Functions that only carry a drop out: who called them is the place.
const FREEING: &[&str] = &[
    "kfree_skb*",
    "__kfree_skb*",
    "sk_skb_reason_drop",
    "skb_queue_purge*",
    "__skb_queue_purge*",
    // 7.0
    "__tcf_kfree_skb_list",
    "tcf_kfree_skb_list",
];

/// Puts the stage that the stack shows, moves the place to who asked for the drop, and cuts off the stack
/// what is ours: the frames between the tracepoint and its caller.
pub fn refine(drop: &mut Drop, names: &Dictionary) {
    if let Some(own) = drop
        .stack
        .iter()
        .position(|&address| address == drop.location)
    {
        drop.stack.drain(..own);
    }
    let frees = |address: u64| {
        let function = names
            .symbol(address)
            .and_then(|symbol| symbol.function.as_deref());
        function.is_some_and(|function| FREEING.iter().any(|pattern| matches(pattern, function)))
    };
    while let [first, second, ..] = drop.stack[..]
        && first == drop.location
        && frees(first)
    {
        drop.stack.remove(0);
        drop.location = second;
    }
    let alone = [drop.location];
    let stack = if drop.stack.is_empty() {
        &alone[..]
    } else {
        &drop.stack
    };
    let functions: Vec<&str> = stack
        .iter()
        .filter_map(|&address| names.symbol(address)?.function.as_deref())
        .collect();
    let reason = names.drop_reason(drop.reason);
    if reason.starts_with("QDISC_") {
        // enqueueing is inlined into __dev_queue_xmit
        drop.stage = S::Qdisc;
    } else if let Some(stage) = stage(&functions) {
        drop.stage = stage;
    }
}

/// The stage of the innermost function that is known to be in one.
fn stage(functions: &[&str]) -> Option<S> {
    for (depth, function) in functions.iter().enumerate() {
        // Compilers add suffixes to copies of a function: `.constprop.0`, `.isra.0`.
        let function = function.split('.').next().unwrap_or(function);
        if function == "nf_hook_slow" || function == "nf_hook" {
            let outer = functions[depth + 1..].iter();
            if let Some(stage) = outer.filter_map(|outer| find(NETFILTER, outer)).next() {
                return Some(stage);
            }
        }
        if let Some(stage) = find(FUNCTIONS, function) {
            return Some(stage);
        }
    }
    None
}

fn find(table: &[(&str, S)], function: &str) -> Option<S> {
    let function = function.split('.').next().unwrap_or(function);
    table
        .iter()
        .find(|(pattern, _)| matches(pattern, function))
        .map(|&(_, stage)| stage)
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_known_function_decides() {
        let stack = [
            "kfree_skb_list",
            "__udp4_lib_rcv",
            "ip_protocol_deliver_rcu",
            "ip_local_deliver",
        ];
        assert_eq!(stage(&stack), Some(S::Transport));
        assert_eq!(
            stage(&["ip_rcv_finish_core.isra.0", "ip_rcv"]),
            Some(S::Routing)
        );
        assert_eq!(stage(&["tbf_enqueue", "__dev_queue_xmit"]), Some(S::Qdisc));
        assert_eq!(stage(&["somewhere", "else"]), None);
        assert_eq!(stage(&[]), None);
    }

    #[test]
    fn a_netfilter_drop_is_in_the_hook_of_its_caller() {
        let under = |caller| stage(&["nft_do_chain", "nf_hook_slow", caller, "process_backlog"]);
        assert_eq!(under("ip_local_deliver"), Some(S::Input));
        assert_eq!(under("ip_rcv"), Some(S::Prerouting));
        assert_eq!(under("ip_forward"), Some(S::Forward));
        assert_eq!(under("__ip_local_out"), Some(S::Output));
        assert_eq!(under("ip6_output"), Some(S::Postrouting));
    }

    #[test]
    fn patterns() {
        assert!(matches("tcp_rcv_*", "tcp_rcv_established"));
        assert!(matches("*_enqueue", "fq_codel_enqueue"));
        assert!(!matches("*_enqueue", "fq_codel_enqueue_more"));
        assert!(matches("udp_*rcv*", "udp_unicast_rcv_skb"));
        assert!(!matches("ip_output", "ip_output2"));
    }
}
