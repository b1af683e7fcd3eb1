//! Less than everything: with fewer hooks, or a part of the flows, what is said is as true, and all of it.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    num::NonZeroU32,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use pktjourney::lab::{
    Addresses, LabError, Pair, Router, faults,
    traffic::{tcp::Service, udp, udp::Flow},
};
use serde_json::Value;
use trace_ebpf::sample;

use crate::{
    trace::{Journey, Trace},
    tracer::{Tracer, binary, patience, some},
};

const WHAT: &str = "traffic of many flows";

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
    let one_in = NonZeroU32::new(one_in).expect("of some flows one");
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
    sample::flow(protocol, end(one), end(other)) <= sample::limit(one_in)
}

/// So many flows, one in `ONE_IN` of which is followed: exactly those that the hash chooses, each of them whole.
fn sampled(choose: fn(&Pair) -> (IpAddr, IpAddr), stages: &str) -> Result<(), LabError> {
    const ONE_IN: u32 = 4;
    const EACH: usize = 5;
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

/// Sends and reads datagrams of these flows by turns, some thousand a second, until told to stop.
fn keep_busy(flows: &[(UdpSocket, UdpSocket)], stop: &AtomicBool) -> Result<(), LabError> {
    let mut buffer = [0; 100];
    let end = Instant::now() + patience(20);
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        for (sender, receiver) in flows {
            sender.send(&[7; 100]).map_err(LabError::io(WHAT))?;
            receiver.recv(&mut buffer).map_err(LabError::io(WHAT))?;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// So many flows, each with sockets of its own.
fn flows(pair: &Pair, count: u64) -> Result<Vec<(UdpSocket, UdpSocket)>, LabError> {
    let (a, b) = pair.v4();
    (0..count)
        .map(|_| {
            let (sender, receiver) = (udp::socket(&pair.a, a)?, udp::socket(&pair.b, b)?);
            let to = receiver.local_addr().map_err(LabError::io(WHAT))?;
            sender.connect(to).map_err(LabError::io(WHAT))?;
            Ok((sender, receiver))
        })
        .collect()
}

/// What the kernel says that the programs of this plan have taken, ns.
fn programs_ns(session: &Value) -> u64 {
    let plan = session["attach_plan"].as_array().expect("attach_plan");
    let names: BTreeSet<String> = plan
        .iter()
        .filter(|row| row["state"] == "attached")
        .map(|row| {
            let (hook, kind) = (&row["hook"], &row["kind"]);
            let mut name = match (hook.as_str(), kind.as_str()) {
                (Some(hook), Some("nf")) => hook.to_owned(),
                (Some(hook), Some(kind)) => format!("{hook}_{kind}"),
                _ => panic!("no hook, or no kind: {row}"),
            };
            name.truncate(15); // BPF_OBJ_NAME_LEN, without the final zero
            name
        })
        .collect();
    loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| {
            let name = program.name_as_str().unwrap_or_default();
            names.contains(name)
        })
        .map(|program| program.run_time().as_nanos() as u64)
        .sum()
}

/// A budget far below what any trace takes: ever fewer flows are followed, this is said, and those are the ones that the hash
/// chooses.
#[test]
fn a_budget_that_is_too_small_is_neared_by_following_fewer() -> Result<(), LabError> {
    const LEAST: u32 = 1_024;
    let pair = Pair::new(Addresses::unique())?;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("budget.pjy");
    let file = file.to_str().expect("UTF-8");
    let tracer = Tracer::start(&[&pair.a, &pair.b], &["--budget", "0.0001%", "-w", file]);
    // the tool lets the kernel count for a part of the time, we for all of it
    let _statistics = enable_stats(Stats::RunTime).expect("the kernel's run statistics");
    let session = tracer.session();
    let attached = programs_ns(&session);
    let (before, after) = (flows(&pair, 20)?, flows(&pair, some(500))?);
    let stop = AtomicBool::new(false);
    let (mut trace, counted) = thread::scope(|scope| {
        let busy = scope.spawn(|| keep_busy(&before, &stop));
        tracer.wait_for(&format!("even with one flow in {LEAST}"), patience(20));
        let mut sent = Ok(());
        let mut buffer = [0; 100];
        for (sender, receiver) in &after {
            sent = sent
                .and_then(|()| sender.send(&[7; 100]))
                .and_then(|_| receiver.recv(&mut buffer))
                .map(|_| ());
        }
        stop.store(true, Ordering::Relaxed);
        sent.map_err(LabError::io(WHAT))?;
        busy.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let counted = programs_ns(&session) - attached;
        Ok::<_, LabError>((tracer.finish(), counted))
    })?;

    let again = Command::new(binary())
        .args(["trace", "--json", "-r", file])
        .output()
        .expect("read the recording");
    let again = Trace::parse(&String::from_utf8_lossy(&again.stdout));
    assert_eq!(again.warnings, trace.warnings);
    assert_eq!(again.end.budget, trace.end.budget);
    assert_eq!(again.end.sample, trace.end.sample);

    let (_, b) = pair.v4();
    for (sender, receiver) in &after {
        let (from, to) = (
            sender.local_addr().map_err(LabError::io(WHAT))?,
            receiver.local_addr().map_err(LabError::io(WHAT))?,
        );
        let seen = trace.to(b, to.port());
        let chosen = is_chosen(17, from, to, LEAST);
        assert_eq!(seen.len(), usize::from(chosen), "{from} → {to}: {seen:?}");
        for journey in seen {
            assert_path(&trace, journey, &["sent", "delivered"]);
        }
    }
    let sample = trace.end.sample.take().expect("a sample");
    let left_out = sample["segments_left_out"].as_u64();
    assert!(left_out >= Some(after.len() as u64 / 2), "{sample}");
    let budget = trace.end.budget.take().expect("a budget");
    let number = |name: &str| budget[name].as_u64().unwrap_or_else(|| panic!("{budget}"));
    let programs = number("programs_ns");
    // an estimate: on an emulated machine 20 ms hold few packets
    let doubt = if std::env::var_os("PKTJOURNEY_VM").is_some() {
        10
    } else {
        3
    };
    assert!(
        programs >= counted / doubt && programs <= counted * doubt,
        "{counted} ns, {budget}"
    );
    let told = trace.warnings.iter();
    let told = told.filter(|warning| warning["code"] == "budget").count() as u64;
    assert_eq!(told, number("sample_changes") + 1, "{:?}", trace.warnings);
    let cpus = trace.session["budget"]["cpus"].as_u64().expect("CPUs");
    let part = (programs + number("own_ns")) as f64 / (trace.end.duration_ns * cpus) as f64;
    let took = budget["took"].as_f64().expect("a part");
    assert!((part - took).abs() < 0.000_01, "{part} {budget}");
    Ok(())
}

/// All that the budget does then is to measure.
#[test]
fn a_budget_that_suffices_changes_nothing() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v6();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let tracer = Tracer::start(
        &[&pair.a, &pair.b],
        &["--budget", "100%", &format!("host {to}")],
    );
    let count = some(1_000);
    flow.deliver(count, 100)?;
    let trace = tracer.finish();
    let sent = trace.to(to, flow.port()?);
    assert_eq!(sent.len() as u64, count, "{}", trace.summary());
    for journey in sent {
        assert_path(&trace, journey, &["sent", "delivered"]);
    }
    assert_eq!(trace.warnings, [] as [Value; 0]);
    let sample = trace.end.sample.as_ref().expect("a sample");
    assert_eq!(sample["one_in"], 1);
    let budget = trace.end.budget.as_ref().expect("a budget");
    assert_eq!(budget["sample_changes"], 0);
    assert!(budget["own_ns"].as_u64() > Some(0), "{budget}");
    Ok(())
}
