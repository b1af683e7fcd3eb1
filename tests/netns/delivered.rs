//! Every packet that was sent and read is one journey, `delivered`, with all the stages of its path.

use std::{net::IpAddr, thread, time::Duration};

use pktjourney::lab::{
    Addresses, LabError, Pair,
    traffic::{icmp, udp::Flow},
};

use crate::{
    kernels::lacks,
    trace::{Journey, Stage, Trace},
    tracer::{Tracer, some},
};

/// Stages of a datagram's first leg, and the function that shows it where `not_probed` cannot say so: there the
/// stage is part of its neighbour.
const OUT: &[(&str, Option<&str>)] = &[
    ("send", None),
    // tcp_sendmsg_locked has a tracepoint.
    ("socket_write", Some("sock_alloc_send_pskb")),
    ("ip_output", None),
    ("output", None),
    ("routing", None),
    ("postrouting", None),
    ("dev_queue", None),
    ("driver", None),
];
/// Stages of its last.
const IN: &[(&str, Option<&str>)] = &[
    // Up to the first bookend it is all `ip`.
    ("receive", Some("ip_rcv_core")),
    ("ip", None),
    ("prerouting", None),
    ("routing", None),
    ("input", None),
    ("transport", None),
    ("socket_queue", None),
    // Small datagrams are copied without passing a tracepoint.
    ("recv", Some("__skb_recv_udp")),
];

/// Asserts that a leg of each journey has all of these stages that the kernel shows.
fn assert_stages(
    trace: &Trace,
    journeys: &[&Journey],
    leg: usize,
    stages: &[(&str, Option<&str>)],
) {
    let shown: Vec<&str> = stages
        .iter()
        .filter(|(_, function)| function.is_none_or(|function| trace.is_probed(function)))
        .map(|(stage, _)| *stage)
        .collect();
    let expected = trace.visible(&shown);
    assert!(
        expected.len() >= 5,
        "hardly anything is visible: {expected:?}"
    );
    // A thread that lost its CPU between __ip_local_out and the next hook finds no note of it, and says so.
    let moved = |journey: &Journey| {
        let gap = |s: &Stage| s.stage == "socket_write" && s.state == "gap";
        journey.stages.iter().any(gap)
    };
    let mut without = 0;
    for journey in journeys {
        for stage in &expected {
            if *stage == "ip_output" && !journey.leg_has(leg, stage) && moved(journey) {
                without += 1;
                continue;
            }
            assert!(
                journey.leg_has(leg, stage),
                "leg {leg} has no {stage}: {journey:?}\n{}",
                trace.summary()
            );
        }
    }
    assert!(without * 50 <= journeys.len(), "{}", trace.summary());
}

/// Sends `count` datagrams over a veth wire and follows them.
fn delivered(count: u64, choose: impl Fn(&Pair) -> (IpAddr, IpAddr)) -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    pair.a.netfilter()?;
    pair.b.netfilter()?;
    let (source, to) = choose(&pair);
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("udp and host {to}")]);
    flow.deliver(count, 100)?;
    let trace = tracer.finish();
    let journeys = trace.to(to, flow.port()?);
    assert_eq!(journeys.len() as u64, count, "{}", trace.summary());
    for journey in &journeys {
        assert_eq!(
            journey.outcome,
            "delivered",
            "{journey:?}\n{}",
            trace.summary()
        );
        assert_eq!(journey.direction, "loop", "{journey:?}");
        let legs: Vec<(&str, &str)> = journey
            .legs
            .iter()
            .map(|leg| (leg.direction.as_str(), leg.outcome.as_str()))
            .collect();
        assert_eq!(
            legs,
            [("transmit", "sent"), ("receive", "delivered")],
            "{journey:?}"
        );
        assert!(
            journey.in_netns(0, &pair.a) && journey.in_netns(1, &pair.b),
            "{journey:?}"
        );
        let waited = ["napi_schedule", "softirq", "napi_poll"];
        assert!(
            waited.iter().any(|stage| journey.leg_has(1, stage)),
            "{journey:?}"
        );
        assert!(
            !journey.has("interrupt"),
            "veth has no interrupts: {journey:?}"
        );
        assert!(!journey.has("qdisc"), "veth has no qdisc: {journey:?}");
    }
    assert_stages(&trace, &journeys, 0, OUT);
    assert_stages(&trace, &journeys, 1, IN);
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
    Ok(())
}

#[test]
fn ten_thousand_datagrams() -> Result<(), LabError> {
    delivered(10_000, Pair::v4)
}

#[test]
fn datagrams_over_ipv6() -> Result<(), LabError> {
    delivered(some(1_000), Pair::v6)
}

#[test]
fn datagrams_over_loopback() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (to, _) = pair.v4();
    let flow = Flow::open(&pair.a, to, &pair.a, to)?;
    let tracer = Tracer::start(&[&pair.a], &[&format!("udp and host {to}")]);
    let count = some(500);
    flow.deliver(count, 100)?;
    let trace = tracer.finish();
    let journeys = trace.to(to, flow.port()?);
    assert_eq!(journeys.len() as u64, count, "{}", trace.summary());
    for journey in journeys {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
        assert_eq!(journey.direction, "loop", "{journey:?}");
        assert!(
            !journey.has("interrupt"),
            "lo has no interrupts: {journey:?}"
        );
    }
    Ok(())
}

/// MSG_PEEK copies a datagram and leaves it where it is: it has arrived when it is read.
#[test]
fn a_look_at_a_datagram_does_not_end_it() -> Result<(), LabError> {
    const BETWEEN: Duration = Duration::from_millis(2);
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("udp and host {to}")]);
    let count = some(50);
    let mut payload = [0; 100];
    for _ in 0..count {
        flow.sender
            .send(&payload)
            .map_err(LabError::io("send a datagram"))?;
        flow.receiver
            .peek(&mut payload)
            .map_err(LabError::io("look at a datagram"))?;
        thread::sleep(BETWEEN);
        flow.receiver
            .recv(&mut payload)
            .map_err(LabError::io("read a datagram"))?;
    }
    let trace = tracer.finish();
    let journeys = trace.to(to, flow.port()?);
    assert_eq!(journeys.len() as u64, count, "{}", trace.summary());
    for journey in journeys {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
        assert!(
            u128::from(journey.total_ns) >= BETWEEN.as_nanos(),
            "{journey:?}"
        );
    }
    Ok(())
}

#[test]
fn echo_requests_are_consumed_and_their_answers_delivered() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    for (source, to) in [pair.v4(), pair.v6()] {
        let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("host {to}")]);
        icmp::ping(&pair.a, to, 50, 56)?;
        let trace = tracer.finish();
        let outcomes = |to: IpAddr, outcome: &str| {
            let journeys = trace.journeys.iter();
            journeys
                .filter(|j| j.outcome == outcome && j.is_echo() && j.goes_to(to))
                .count()
        };
        // Some kernels free what they have answered as if it were dropped (kernels.toml).
        let answered = if to.is_ipv6() && lacks("icmpv6_echo") {
            "dropped"
        } else {
            "consumed"
        };
        assert_eq!(outcomes(to, answered), 50, "{}", trace.summary());
        assert_eq!(outcomes(source, "delivered"), 50, "{}", trace.summary());
    }
    Ok(())
}
