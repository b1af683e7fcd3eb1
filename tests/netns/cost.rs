//! Less than everything: with fewer hooks, or a part of the flows, what is said is as true, and all of it.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use pktjourney::lab::{
    Addresses, LabError, Pair, Router, faults,
    traffic::{tcp::Service, udp, udp::Flow},
};
use trace_ebpf::sample;

use crate::{
    trace::{Journey, Trace},
    tracer::{Tracer, some},
};

/// Outcomes by ground truth with this set of stages: datagrams, requests, drops, a router.
fn outcomes(stages: &str) -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    for (source, to) in [pair.v4(), pair.v6()] {
        let flow = Flow::open(&pair.a, source, &pair.b, to)?;
        let service = Service::listen(&pair.a, &pair.b, to)?;
        let tracer = Tracer::start(
            &[&pair.a, &pair.b],
            &["--stages", stages, &format!("host {to}")],
        );
        let count = some(1_000);
        flow.deliver(count, 100)?;
        service.requests(20, 100, 200, Duration::ZERO)?;
        let fault = faults::closed_udp_port(&pair, to.is_ipv6(), 20)?;
        let trace = tracer.finish();

        let sent = trace.to(to, flow.port()?);
        assert_eq!(sent.len() as u64, count, "{}", trace.summary());
        for journey in sent {
            assert_path(&trace, journey, &["sent", "delivered"]);
        }
        let requests = trace.to(to, service.address().port());
        let requests = requests
            .into_iter()
            .filter(|journey| journey.payload() == Some(100));
        let requests: Vec<&Journey> = requests.collect();
        assert_eq!(requests.len(), 20, "{}", trace.summary());
        for journey in requests {
            assert_path(&trace, journey, &["sent", "delivered"]);
        }
        let dropped = trace.to(to, fault.port);
        assert_eq!(dropped.len() as u64, fault.dropped, "{}", trace.summary());
        for journey in dropped {
            assert_path(&trace, journey, &["sent", "dropped"]);
        }
        assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
        assert_left_out(&trace, stages);
    }
    let router = Router::new(Addresses::unique())?;
    for (source, to) in [router.v4(), router.v6()] {
        let flow = Flow::open(&router.a, source, &router.b, to)?;
        let tracer = Tracer::start(
            &[&router.a, &router.router, &router.b],
            &["--stages", stages, &format!("udp and host {to}")],
        );
        let count = some(500);
        flow.deliver(count, 100)?;
        let trace = tracer.finish();
        let sent = trace.to(to, flow.port()?);
        assert_eq!(sent.len() as u64, count, "{}", trace.summary());
        for journey in sent {
            assert_path(&trace, journey, &["sent", "forwarded", "delivered"]);
        }
    }
    Ok(())
}

/// The legs' outcomes, and that no stage is called measured that swallowed one which was left out.
fn assert_path(trace: &Trace, journey: &Journey, outcomes: &[&str]) {
    let legs: Vec<&str> = journey.legs.iter().map(|leg| &*leg.outcome).collect();
    assert_eq!(legs, outcomes, "{journey:?}\n{}", trace.summary());
    if !trace.is_probed("net_dev_start_xmit") {
        for stage in journey
            .stages
            .iter()
            .filter(|stage| stage.stage == "dev_queue")
        {
            assert_eq!(stage.state, "gap", "the driver is in it: {journey:?}");
        }
    }
}

/// The plan says what was left out, and the stages that only such hooks show are named.
fn assert_left_out(trace: &Trace, stages: &str) {
    let why = format!("left out by --stages {stages}");
    let plan = trace.session["attach_plan"]
        .as_array()
        .expect("attach_plan");
    let softirq = plan.iter().find(|row| row["hook"] == "softirq_entry");
    let softirq = softirq.expect("the plan names every hook");
    assert_eq!(
        (&softirq["state"], &softirq["reason"]),
        (&"skipped".into(), &why.clone().into())
    );
    let unseen = trace.session["not_probed"].as_array().expect("not_probed");
    assert!(
        unseen
            .iter()
            .any(|stage| stage["stage"] == "softirq" && stage["why"] == why.as_str()),
        "{unseen:?}"
    );
}

#[test]
fn few_stages_and_the_same_outcomes() -> Result<(), LabError> {
    outcomes("few")
}

#[test]
fn standard_stages_and_the_same_outcomes() -> Result<(), LabError> {
    outcomes("standard")
}

/// Whether one flow in `one_in` is to be followed, by what the documentation says.
fn is_chosen(protocol: u8, one: SocketAddr, other: SocketAddr, one_in: u32) -> bool {
    let end = |end: SocketAddr| {
        let mut words = [0; 4];
        let mut count = 0;
        let mut add = |bytes: &[u8]| {
            for word in bytes.chunks_exact(4) {
                words[count] = u32::from_ne_bytes(word.try_into().expect("four bytes"));
                count += 1;
            }
        };
        match end.ip() {
            IpAddr::V4(address) => add(&address.octets()),
            IpAddr::V6(address) => add(&address.octets()),
        }
        sample::end(words, count, end.port())
    };
    sample::flow(protocol, end(one), end(other)) < sample::limit(one_in)
}

/// So many flows, one in `ONE_IN` of which is followed: exactly those that the hash chooses, each of them whole.
fn sampled(choose: fn(&Pair) -> (IpAddr, IpAddr), stages: &str) -> Result<(), LabError> {
    const ONE_IN: u32 = 4;
    const EACH: usize = 5;
    const WHAT: &str = "traffic of many flows";
    let pair = Pair::new(Addresses::unique())?;
    let (a, b) = choose(&pair);
    let service = Service::listen(&pair.a, &pair.b, b)?;
    let tracer = Tracer::start(
        &[&pair.a, &pair.b],
        &["--stages", stages, "--sample", "1/4", &format!("host {b}")],
    );
    let (mut expected, mut left_out) = (0, 0);
    let mut flows = Vec::new();
    for _ in 0..some(100) {
        let (sender, receiver) = (udp::socket(&pair.a, a)?, udp::socket(&pair.b, b)?);
        let (from, to) = (
            sender.local_addr().map_err(LabError::io(WHAT))?,
            receiver.local_addr().map_err(LabError::io(WHAT))?,
        );
        sender.connect(to).map_err(LabError::io(WHAT))?;
        // a kernel that shows neither the copy nor the free shows the end of recv(), which says which flow's only then
        receiver.connect(from).map_err(LabError::io(WHAT))?;
        let mut buffer = [0; 100];
        for _ in 0..EACH {
            sender.send(&[7; 100]).map_err(LabError::io(WHAT))?;
            receiver.recv(&mut buffer).map_err(LabError::io(WHAT))?;
        }
        let chosen = is_chosen(17, from, to, ONE_IN);
        flows.push((17, from, to, chosen));
        if chosen {
            expected += EACH;
        } else {
            left_out += EACH as u64;
        }
    }
    for _ in 0..some(40) {
        let (mut client, mut server) = service.connect()?;
        let (from, to) = (
            client.local_addr().map_err(LabError::io(WHAT))?,
            client.peer_addr().map_err(LabError::io(WHAT))?,
        );
        let mut buffer = [0; 100];
        for _ in 0..EACH {
            client.write_all(&[7; 100]).map_err(LabError::io(WHAT))?;
            server.read_exact(&mut buffer).map_err(LabError::io(WHAT))?;
        }
        flows.push((6, from, to, is_chosen(6, from, to, ONE_IN)));
    }
    let trace = tracer.finish();

    let some_are = flows.iter().filter(|flow| flow.3).count();
    assert!(
        some_are > 0 && some_are < flows.len(),
        "a hash that chooses {some_are} of {}",
        flows.len()
    );
    let mut datagrams = 0;
    for (protocol, from, to, chosen) in flows {
        let ours: Vec<&Journey> = trace
            .to(b, to.port())
            .into_iter()
            .filter(|journey| journey.ports() == Some((from.port(), to.port())))
            .collect();
        if !chosen {
            assert!(
                ours.is_empty(),
                "{from} → {to} was not to be followed: {ours:?}"
            );
            continue;
        }
        let data: Vec<&&Journey> = ours
            .iter()
            .filter(|journey| protocol == 17 || journey.payload() == Some(100))
            .collect();
        assert_eq!(data.len(), EACH, "{from} → {to}\n{}", trace.summary());
        for journey in data {
            assert_path(&trace, journey, &["sent", "delivered"]);
            datagrams += usize::from(protocol == 17);
        }
    }
    assert_eq!(datagrams, expected, "{}", trace.summary());
    assert_eq!(trace.session["sample"]["one_in"], ONE_IN);
    let said = trace.end.sample.as_ref().expect("a sample");
    assert_eq!(said["one_in"], ONE_IN);
    assert!(
        said["segments_left_out"].as_u64() >= Some(left_out),
        "{said}"
    );
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
    Ok(())
}

#[test]
fn a_sample_is_the_flows_that_the_hash_chooses() -> Result<(), LabError> {
    sampled(Pair::v4, "all")
}

#[test]
fn a_sample_of_ipv6_with_few_stages() -> Result<(), LabError> {
    sampled(Pair::v6, "few")
}
