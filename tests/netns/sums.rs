//! Everything at once: whatever the packet, its stages sum to its total and its end is in the ledger.

use std::time::Duration;

use pktjourney::lab::{
    Addresses, LabError, Pair, Router, faults,
    traffic::{http, icmp, tcp::Service, udp::Flow},
};

use crate::{trace::Journey, tracer::Tracer};

#[test]
fn all_kinds_of_traffic_balance() -> Result<(), LabError> {
    let (pair, router) = (
        Pair::new(Addresses::unique())?,
        Router::new(Addresses::unique())?,
    );
    let namespaces = [&pair.a, &pair.b, &router.a, &router.router, &router.b];
    for netns in namespaces {
        netns.netfilter()?;
    }
    // Connection tracking puts fragments together, and the way out takes them apart again.
    router.router.nft(
        "add table inet track\n\
         add chain inet track prerouting { type filter hook prerouting priority 0; }\n\
         add rule inet track prerouting ct state new,established,related,untracked accept\n",
    )?;
    // No filter: what else this machine does must balance, too.
    let tracer = Tracer::start(&namespaces, &[]);
    for (source, to) in [router.v4(), router.v6()] {
        let service = Service::listen(&router.a, &router.b, to)?;
        service.requests(10, 5_000, 20_000, Duration::from_millis(1))?;
        service.bulk(1 << 20)?;
        http::get(&service, 10, 3_000)?;
        icmp::ping(&router.a, to, 10, 1_000)?;
        // Bigger than any frame: fragments.
        Flow::open(&router.a, source, &router.b, to)?.deliver(10, 5_000)?;
        Flow::open(&router.a, source, &router.a, source)?.deliver(10, 5_000)?;
    }
    faults::closed_udp_port(&pair, false, 10)?;
    faults::closed_tcp_port(&pair, 10)?;
    faults::full_socket(&pair, 50)?;
    faults::ttl_exceeded(&router, true, 10)?;
    // `finish` checks.
    let trace = tracer.finish();
    assert!(trace.journeys.len() > 500, "{}", trace.summary());
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
    // What else is on this machine may still be in a queue; all of ours has come to its end.
    let ours = |journey: &&Journey| namespaces.iter().any(|netns| journey.in_netns(0, netns));
    let unfinished: Vec<&Journey> = trace
        .journeys
        .iter()
        .filter(ours)
        .filter(|journey| journey.outcome == "unfinished" && !journey.repeated_unseen())
        .collect();
    assert!(unfinished.is_empty(), "{unfinished:?}\n{}", trace.summary());
    Ok(())
}
