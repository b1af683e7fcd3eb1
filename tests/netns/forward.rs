//! Through a router namespace: one journey, three legs.

use std::net::IpAddr;

use pktjourney::lab::{
    Addresses, LabError, Router,
    traffic::{tcp::Service, udp::Flow},
};

use crate::{
    trace::{Journey, Trace},
    tracer::{Tracer, some},
};

/// Asserts three legs, and what the router does in its own.
fn assert_forwarded(lab: &Router, trace: &Trace, journey: &Journey) {
    let legs: Vec<(&str, &str)> = journey
        .legs
        .iter()
        .map(|leg| (leg.direction.as_str(), leg.outcome.as_str()))
        .collect();
    assert_eq!(
        legs,
        [
            ("transmit", "sent"),
            ("forward", "forwarded"),
            ("receive", "delivered")
        ],
        "{journey:?}\n{}",
        trace.summary()
    );
    assert_eq!(journey.direction, "loop", "{journey:?}");
    for (leg, netns) in [&lab.a, &lab.router, &lab.b].into_iter().enumerate() {
        assert!(
            journey.in_netns(leg, netns),
            "leg {leg} in {}: {journey:?}",
            netns.name()
        );
    }
    let router = [
        "receive",
        "ip",
        "prerouting",
        "routing",
        "forward",
        "postrouting",
        "dev_queue",
        "driver",
    ];
    for stage in trace.visible(&router) {
        // Up to the first bookend it is all `ip`.
        if stage == "receive" && !trace.is_probed("ip_rcv_core") {
            continue;
        }
        assert!(
            journey.leg_has(1, stage),
            "the router has no {stage}: {journey:?}\n{}",
            trace.summary()
        );
    }
    for foreign in ["input", "output", "transport", "socket_queue"] {
        assert!(
            !journey.leg_has(1, foreign),
            "the router has {foreign}: {journey:?}"
        );
    }
}

fn datagrams(choose: impl Fn(&Router) -> (IpAddr, IpAddr)) -> Result<(), LabError> {
    let lab = Router::new(Addresses::unique())?;
    for netns in [&lab.a, &lab.router, &lab.b] {
        netns.netfilter()?;
    }
    let (source, to) = choose(&lab);
    let flow = Flow::open(&lab.a, source, &lab.b, to)?;
    let tracer = Tracer::start(
        &[&lab.a, &lab.router, &lab.b],
        &[&format!("udp and host {to}")],
    );
    let count = some(1_000);
    flow.deliver(count, 100)?;
    let trace = tracer.finish();
    let journeys = trace.to(to, flow.port()?);
    assert_eq!(journeys.len() as u64, count, "{}", trace.summary());
    for journey in journeys {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
        assert_forwarded(&lab, &trace, journey);
    }
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
    Ok(())
}

#[test]
fn datagrams_through_a_router() -> Result<(), LabError> {
    datagrams(Router::v4)
}

#[test]
fn datagrams_through_a_router_over_ipv6() -> Result<(), LabError> {
    datagrams(Router::v6)
}

#[test]
fn a_request_through_a_router() -> Result<(), LabError> {
    let lab = Router::new(Addresses::unique())?;
    for netns in [&lab.a, &lab.router, &lab.b] {
        netns.netfilter()?;
    }
    let (_, to) = lab.v4();
    let service = Service::listen(&lab.a, &lab.b, to)?;
    let tracer = Tracer::start(
        &[&lab.a, &lab.router, &lab.b],
        &[&format!("tcp and host {to}")],
    );
    service.requests(20, 100, 200, std::time::Duration::ZERO)?;
    let trace = tracer.finish();
    let requests: Vec<&Journey> = trace
        .to(to, service.address().port())
        .into_iter()
        .filter(|journey| journey.payload() == Some(100))
        .collect();
    assert_eq!(requests.len(), 20, "{}", trace.summary());
    for journey in requests {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
        assert_forwarded(&lab, &trace, journey);
    }
    Ok(())
}
