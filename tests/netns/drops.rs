//! N packets that the kernel must drop are N drops: with the kernel's reason, the place in its code, the stage,
//! and as many as the kernel's own counters say.

use std::net::IpAddr;

use pktjourney::lab::{
    Addresses, LabError, Pair, Router,
    faults::{self, Fault},
    traffic::raw::Transport,
};
use serde_json::Value;

use crate::{
    kernels::lacks,
    trace::Journey,
    tracer::{Tracer, netfilter_flags, patience},
};

/// A fault, and what any supported kernel may say of it: names and functions differ from one to the next.
struct Case {
    name: &'static str,
    make: fn(&Pair, &Router) -> Result<Fault, LabError>,
    v6: bool,
    reasons: &'static [&'static str],
    functions: &'static [&'static str],
    stages: &'static [&'static str],
}

const N: u64 = 20;
const UDP: &[&str] = &["__udp4_lib_rcv", "udp_rcv", "udp_unicast_rcv_skb"];
const NFT: &[&str] = &["nft_do_chain", "nf_hook_slow", "nf_hook_slow_list"];

/// Writes the table shorter: a case over IPv4.
const fn case(
    name: &'static str,
    make: fn(&Pair, &Router) -> Result<Fault, LabError>,
    reasons: &'static [&'static str],
    functions: &'static [&'static str],
    stages: &'static [&'static str],
) -> Case {
    Case {
        name,
        make,
        v6: false,
        reasons,
        functions,
        stages,
    }
}

/// … and over IPv6.
const fn v6(case: Case) -> Case {
    Case { v6: true, ..case }
}

/// Where neither ip_forward nor the forwarding hook is seen, the forwarding path up to it is `routing`.
const FORWARD: &[&str] = &["forward", "routing"];

const CASES: &[Case] = &[
    case(
        "closed udp port",
        |p, _| faults::closed_udp_port(p, false, N),
        &["NO_SOCKET"],
        UDP,
        &["transport"],
    ),
    v6(case(
        "closed udp port, IPv6",
        |p, _| faults::closed_udp_port(p, true, N),
        &["NO_SOCKET"],
        &["__udp6_lib_rcv", "udpv6_rcv"],
        &["transport"],
    )),
    case(
        "closed tcp port",
        |p, _| faults::closed_tcp_port(p, N),
        &["NO_SOCKET"],
        &["tcp_v4_rcv"],
        &["transport"],
    ),
    case(
        "nft prerouting",
        |p, _| faults::nft(p, "prerouting", N),
        &["NETFILTER_DROP"],
        NFT,
        &["prerouting"],
    ),
    case(
        "nft input",
        |p, _| faults::nft(p, "input", N),
        &["NETFILTER_DROP"],
        NFT,
        &["input"],
    ),
    case(
        "nft output",
        |p, _| faults::nft(p, "output", N),
        &["NETFILTER_DROP"],
        NFT,
        &["output"],
    ),
    case(
        "nft postrouting",
        |p, _| faults::nft(p, "postrouting", N),
        &["NETFILTER_DROP"],
        NFT,
        &["postrouting"],
    ),
    case(
        "nft forward",
        |_, r| faults::nft_forward(r, N),
        &["NETFILTER_DROP"],
        NFT,
        &["forward"],
    ),
    case(
        "no route",
        |_, r| faults::no_route(r, false, N),
        &["IP_INNOROUTES"],
        &["ip_error"],
        &["routing"],
    ),
    v6(case(
        "no route, IPv6",
        |_, r| faults::no_route(r, true, N),
        &["IP_INNOROUTES"],
        &["ip6_pkt_discard", "ip6_pkt_drop"],
        &["routing"],
    )),
    case(
        "time to live",
        |_, r| faults::ttl_exceeded(r, false, N),
        &["IP_INHDR"],
        &["ip_forward"],
        FORWARD,
    ),
    v6(case(
        "hop limit",
        |_, r| faults::ttl_exceeded(r, true, N),
        &["IP_INHDR"],
        &["ip6_forward"],
        FORWARD,
    )),
    case(
        "too big",
        |_, r| faults::too_big(r, false, N),
        &["PKT_TOO_BIG"],
        &["ip_forward"],
        FORWARD,
    ),
    v6(case(
        "too big, IPv6",
        |_, r| faults::too_big(r, true, N),
        &["PKT_TOO_BIG"],
        &["ip6_forward"],
        FORWARD,
    )),
    case(
        "udp checksum",
        |p, _| faults::bad_checksum(p, Transport::Udp, false, N),
        &["UDP_CSUM"],
        &["__udp4_lib_rcv", "udp_rcv", "udp_queue_rcv_one_skb"],
        &["transport"],
    ),
    case(
        "tcp checksum",
        |p, _| faults::bad_checksum(p, Transport::TcpSyn, false, N),
        &["TCP_CSUM"],
        &["tcp_v4_rcv"],
        &["transport"],
    ),
    v6(case(
        "udp checksum, IPv6",
        |p, _| faults::bad_checksum(p, Transport::Udp, true, N),
        &["UDP_CSUM"],
        &["__udp6_lib_rcv", "udpv6_rcv", "udpv6_queue_rcv_one_skb"],
        &["transport"],
    )),
    v6(case(
        "tcp checksum, IPv6",
        |p, _| faults::bad_checksum(p, Transport::TcpSyn, true, N),
        &["TCP_CSUM"],
        &["tcp_v6_rcv"],
        &["transport"],
    )),
    case(
        "reverse path",
        |p, _| faults::reverse_path(p, N),
        &["IP_RPFILTER"],
        &["ip_rcv_finish_core"],
        &["routing"],
    ),
    case(
        "martian",
        |p, _| faults::martian(p, N),
        &["IP_LOCALNET", "IP_INVALID_SOURCE", "NOT_SPECIFIED"],
        &["ip_rcv_finish_core"],
        &["routing"],
    ),
    case(
        "full socket",
        |p, _| faults::full_socket(p, 2 * N),
        &["SOCKET_RCVBUFF"],
        &["udp_queue_rcv_one_skb", "__udp_enqueue_schedule_skb"],
        &["transport"],
    ),
    case(
        "full qdisc",
        |p, _| faults::full_qdisc(p, 2 * N),
        &["QDISC_DROP", "QDISC_OVERLIMIT"],
        &["__dev_queue_xmit", "__dev_xmit_skb"],
        &["dev_queue", "qdisc"],
    ),
    case(
        "no neighbour",
        |p, _| faults::no_neighbour(p, 2 * N),
        &["NEIGH_QUEUEFULL", "NEIGH_FAILED"],
        // x86_64 leaves no return address of arp_error_report, which ends by calling kfree_skb_reason
        &["__neigh_event_send", "neigh_invalidate", "arp_error_report"],
        &["neighbour"],
    ),
];

/// Whether a function's name is one of these; compilers append `.constprop.0`, `.isra.0` and such.
fn is_one_of(function: &str, names: &[&str]) -> bool {
    let plain = function.split('.').next().unwrap_or(function);
    names.contains(&plain)
}

/// What is wrong with what was said of a fault's packets; empty when nothing is.
fn faults_of(case: &Case, fault: &Fault, journeys: &[&Journey]) -> Vec<String> {
    let mut wrong = Vec::new();
    if fault
        .counted
        .is_some_and(|counted| counted != fault.dropped)
    {
        wrong.push(format!("the kernel counted otherwise: {fault:?}"));
    }
    let dropped: Vec<&&Journey> = journeys.iter().filter(|j| j.outcome == "dropped").collect();
    if dropped.len() as u64 != fault.dropped {
        wrong.push(format!("{} drops of {fault:?}", dropped.len()));
    }
    for journey in dropped {
        let drop = journey.drop.as_ref().expect("checked by the trace");
        let function = drop.function.as_deref().unwrap_or("unknown");
        // Where the kernel gives none, the one that it is must be among those inferred.
        if !drop
            .reason
            .split('|')
            .any(|reason| case.reasons.contains(&reason))
            || drop.reason_inferred != lacks("drop_reason")
            || !is_one_of(function, case.functions)
            || !case.stages.contains(&drop.stage.as_str())
        {
            wrong.push(format!(
                "{} in {function}, stage {}",
                drop.reason, drop.stage
            ));
        }
    }
    if journeys
        .iter()
        .any(|j| !matches!(j.outcome.as_str(), "dropped" | "delivered"))
    {
        let outcomes: Vec<&str> = journeys.iter().map(|j| j.outcome.as_str()).collect();
        wrong.push(format!("neither dropped nor delivered: {outcomes:?}"));
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// A little network with netfilter passed everywhere.
fn lab() -> Result<(Pair, Router), LabError> {
    let (pair, router) = (
        Pair::new(Addresses::unique())?,
        Router::new(Addresses::unique())?,
    );
    for netns in [&pair.a, &pair.b, &router.a, &router.router, &router.b] {
        netns.netfilter()?;
    }
    Ok((pair, router))
}

#[test]
fn each_drop_has_its_reason_place_and_stage() -> Result<(), LabError> {
    let (pair, router) = lab()?;
    let namespaces = [&pair.a, &pair.b, &router.a, &router.router, &router.b];
    let tracer = Tracer::start(&namespaces, &[]);
    let mut made = Vec::new();
    for case in CASES {
        made.push((case.make)(&pair, &router)?);
    }
    let trace = tracer.finish();
    let ours: Vec<&Journey> = trace
        .journeys
        .iter()
        .filter(|journey| namespaces.iter().any(|netns| journey.in_netns(0, netns)))
        .collect();
    let mut wrong = Vec::new();
    for (case, fault) in CASES.iter().zip(&made) {
        let to_port = |journey: &&&Journey| {
            journey.flow.as_ref().is_some_and(|flow| {
                flow.destination_port == Some(fault.port) && flow.destination.is_ipv6() == case.v6
                    // An answer by TCP goes to a port that may by chance be the same.
                    && flow.source_port != Some(fault.port)
            })
        };
        let journeys: Vec<&Journey> = ours.iter().filter(to_port).copied().collect();
        let problems = faults_of(case, fault, &journeys);
        wrong.extend(
            problems
                .into_iter()
                .map(|problem| format!("{}: {problem}", case.name)),
        );
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        trace.summary()
    );
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
    Ok(())
}

#[test]
fn drops_are_grouped_and_counted() -> Result<(), LabError> {
    let (pair, router) = lab()?;
    let (_, to) = pair.v4();
    let mut arguments = vec!["drops".to_owned(), "--json".to_owned()];
    arguments.extend(netfilter_flags(&[&pair.a, &pair.b, &router.router]));
    let mut tracer = Tracer::spawn(&arguments);
    tracer.wait_for("\"type\":\"session\"", patience(20));
    let faults = [
        (faults::closed_udp_port(&pair, false, 30)?, "NO_SOCKET"),
        (faults::nft(&pair, "input", 40)?, "NETFILTER_DROP"),
        (faults::full_socket(&pair, 50)?, "SOCKET_RCVBUFF"),
    ];
    tracer.signal(rustix::process::Signal::INT);
    let (status, output, complaints) = tracer.wait(patience(20));
    assert!(status.success(), "{status}: {complaints}");
    let groups: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["type"] == "drop")
        .collect();
    for (fault, reason) in faults {
        let of_fault = groups.iter().filter(|group| {
            let address = group["flow"]["destination.address"].as_str();
            address.and_then(|text| text.parse::<IpAddr>().ok()) == Some(to)
                && group["flow"]["destination.port"] == fault.port
        });
        for group in of_fault.clone() {
            let mut said = group["reason"].as_str().unwrap_or_default().split('|');
            assert!(said.any(|one| one == reason), "{group}");
            assert_eq!(
                group["reason_inferred"] == true,
                lacks("drop_reason"),
                "{group}"
            );
            assert!(
                group["stack"]
                    .as_array()
                    .is_some_and(|stack| stack.len() > 3),
                "{group}"
            );
        }
        let count: u64 = of_fault.filter_map(|group| group["count"].as_u64()).sum();
        assert_eq!(count, fault.dropped, "{reason}: {output}");
    }
    Ok(())
}
