//! The path through real cards, where there are two to be had (see `lab::cards`): interrupts, NAPI, GRO and
//! transmit completion. Elsewhere these tests do nothing.

use std::collections::BTreeMap;

use pktjourney::lab::{
    Addresses, LabError,
    cards::{Cards, VARIABLE},
    topology,
    traffic::{raw, udp::Flow},
};

use crate::{
    trace::{Journey, Trace},
    tracer::Tracer,
};

const COUNT: u64 = 1_000;
/// Of these, sent one by one.
const SLOW: u64 = 50;

/// The cards, or a word why the test does nothing.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn cards() -> Result<Option<Cards>, LabError> {
    let cards = Cards::take(Addresses::unique())?;
    if cards.is_none() {
        eprintln!("skipped: {VARIABLE} names no cards");
    }
    Ok(cards)
}

/// Asserts that each of these stages is in at least one of the journeys, if the kernel shows it at all.
fn assert_any(trace: &Trace, journeys: &[&Journey], stages: &[&str]) {
    for stage in trace.visible(stages) {
        assert!(
            journeys.iter().any(|j| j.has(stage)),
            "none has {stage}: {}",
            trace.summary()
        );
    }
}

/// Asserts that each of these stages is in nearly every journey, if the kernel shows it at all, but for what was said to be
/// missed: the kernel does not run a program that would interrupt itself (`recursion_misses`), and an interrupt that comes while a
/// sender is inside a hook passes the same hooks. Emulation makes that window thirty times as long as it is.
fn assert_nearly_all(trace: &Trace, journeys: &[&Journey], stages: &[&str]) {
    // One call that was missed explains one stage of one journey.
    let mut missed = trace.missed();
    for stage in trace.visible(stages) {
        let with = journeys.iter().filter(|j| j.has(stage)).count();
        let lacking = (journeys.len() - with).saturating_sub(journeys.len() / 10) as u64;
        let Some(rest) = missed.checked_sub(lacking) else {
            panic!(
                "{with} of {} have {stage}: {}",
                journeys.len(),
                trace.summary()
            );
        };
        missed = rest;
    }
}

#[test]
fn from_interrupt_to_completion() -> Result<(), LabError> {
    let Some(cards) = cards()? else { return Ok(()) };
    cards.a.netfilter()?;
    cards.b.netfilter()?;
    let (source, to) = cards.v4();
    let flow = Flow::open(&cards.a, source, &cards.b, to)?;
    let tracer = Tracer::start(&[&cards.a, &cards.b], &[&format!("udp and host {to}")]);
    // One by one first: then each has an interrupt of its own. In a stream many share one.
    for _ in 0..SLOW {
        flow.deliver(1, 100)?;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    flow.deliver(COUNT - SLOW, 100)?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let trace = tracer.finish();
    let of = |direction: &str, outcome: &str| -> Vec<&Journey> {
        trace
            .to(to, flow.port().unwrap_or(0))
            .into_iter()
            .filter(|journey| journey.direction == direction && journey.outcome == outcome)
            .collect()
    };
    let (sent, delivered) = (of("transmit", "sent"), of("receive", "delivered"));
    // A driver frees what it has sent when it likes: the last few packets may still be the card's.
    let pending = of("transmit", "unfinished");
    let at_the_card =
        |journey: &&&Journey| journey.stages.last().is_some_and(|s| s.stage == "driver");
    let pending = pending.iter().filter(at_the_card).count();
    let all_sent = (sent.len() + pending) as u64;
    assert!(
        all_sent.abs_diff(COUNT) <= trace.missed(),
        "{}",
        trace.summary()
    );
    // The card may ask for an interrupt only after three quarters of its ring of 256.
    assert!(pending <= 64, "{}", trace.summary());
    assert!(
        (delivered.len() as u64).abs_diff(COUNT) <= trace.missed(),
        "{}",
        trace.summary()
    );
    assert_nearly_all(
        &trace,
        &sent,
        &[
            "send",
            "socket_write",
            "ip_output",
            "output",
            "postrouting",
            "dev_queue",
            "driver",
            "completion",
        ],
    );
    // One interrupt and one softirq bring many packets: not each waits for them.
    assert_any(&trace, &delivered, &["napi_schedule", "softirq"]);
    // Where no hook is at a poll's beginning (5.10) the time of its interrupt is known only if no other one came before the
    // softirq; in an emulated machine both cards ask for theirs at once. Its number is known all the same.
    if trace.is_probed("__napi_poll") {
        assert_any(&trace, &delivered, &["interrupt"]);
    }
    let polls = delivered.iter().filter_map(|journey| journey.polls.first());
    assert!(
        polls.clone().any(|poll| poll["irq"].is_u64()),
        "{}",
        trace.summary()
    );
    assert_nearly_all(
        &trace,
        &delivered,
        &[
            "napi_poll",
            "gro",
            "receive",
            "ip",
            "prerouting",
            "routing",
            "input",
            "transport",
            "socket_queue",
            "recv",
        ],
    );
    for journey in delivered.iter().filter(|j| j.has("napi_poll")) {
        let poll = journey
            .polls
            .first()
            .unwrap_or_else(|| panic!("no poll: {journey:?}"));
        assert!(
            poll["work"].as_u64() > Some(0) && poll["budget"].as_u64() > Some(0),
            "{journey:?}"
        );
    }
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
    Ok(())
}

/// How often interrupts came, by `/proc/interrupts`: those that are wanted by number or name.
fn interrupts(wanted: impl Fn(u64, &str) -> bool) -> BTreeMap<u64, u64> {
    let table = std::fs::read_to_string("/proc/interrupts").expect("/proc/interrupts");
    let count = |line: &str| {
        let (number, counts) = line.split_once(':')?;
        let number = number.trim().parse().ok()?;
        let counts = counts
            .split_whitespace()
            .map_while(|n| n.parse::<u64>().ok());
        let name = line.split_whitespace().last().unwrap_or_default();
        wanted(number, name).then_some((number, counts.sum()))
    };
    table.lines().filter_map(count).collect()
}

/// How often these came by now.
fn come(before: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    interrupts(|number, _| before.contains_key(&number))
}

/// The interrupts by which a card says that it has received.
fn interrupts_of(card: &str) -> BTreeMap<u64, u64> {
    let device = std::fs::canonicalize(format!("/sys/class/net/{card}/device")).expect("a device");
    let device = device.file_name().expect("a name").to_string_lossy();
    // virtio1-input.0, eth0-rx-0
    let names = [format!("{device}-input"), format!("{card}-")];
    interrupts(|_, name| names.iter().any(|own| name.starts_with(own.as_str())))
}

#[test]
fn each_card_has_its_own_interrupt() -> Result<(), LabError> {
    let list = std::env::var(VARIABLE).unwrap_or_default();
    // Cards that are moved into a namespace are no longer in our sysfs; their interrupts stay where they are.
    let names: Vec<&str> = list.split_terminator(',').collect();
    let before: Vec<BTreeMap<u64, u64>> = names.iter().map(|name| interrupts_of(name)).collect();
    let Some(cards) = cards()? else { return Ok(()) };
    // One processor for all of them: one card's interrupt comes while the other's packets are polled.
    for irq in before.iter().flat_map(BTreeMap::keys) {
        std::fs::write(format!("/proc/irq/{irq}/smp_affinity_list"), "0").expect("an affinity");
    }
    let (a, b) = cards.v4();
    let there = Flow::open(&cards.a, a, &cards.b, b)?;
    let back = Flow::open(&cards.b, b, &cards.a, a)?;
    let tracer = Tracer::start(&[&cards.a, &cards.b], &["udp"]);
    std::thread::scope(|threads| {
        let flows = [&there, &back].map(|flow| threads.spawn(|| flow.deliver(COUNT, 100)));
        flows
            .into_iter()
            .try_for_each(|flow| flow.join().expect("a flow"))
    })?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let trace = tracer.finish();
    let after: Vec<BTreeMap<u64, u64>> = before.iter().map(come).collect();
    for (to, flow, own, after) in [
        (b, there, &before[1], &after[1]),
        (a, back, &before[0], &after[0]),
    ] {
        let delivered: Vec<&Journey> = trace
            .to(to, flow.port().unwrap_or(0))
            .into_iter()
            .filter(|journey| journey.direction == "receive")
            .collect();
        assert!(
            (delivered.len() as u64).abs_diff(COUNT) <= trace.missed(),
            "{}",
            trace.summary()
        );
        // Two polls do not take the same time to the nanosecond.
        let polls: BTreeMap<u64, Option<u64>> = delivered
            .iter()
            .filter_map(|journey| journey.polls.first())
            .filter_map(|poll| Some((poll["ns"].as_u64()?, poll["irq"].as_u64())))
            .collect();
        let wrong = polls.values().flatten().find(|irq| !own.contains_key(irq));
        assert_eq!(wrong, None, "{to} has {own:?}: {}", trace.summary());
        // Each interrupt brings one poll, which may take several turns; what a poll finds by itself at its end
        // (virtqueue_napi_complete) has none. Some bring no packet of ours.
        let known = polls.values().flatten().count() as u64;
        let came: u64 = after.values().sum::<u64>() - own.values().sum::<u64>();
        assert!(
            known * 100 >= came * 80,
            "{known} of {} polls have one of {came} interrupts: {}",
            polls.len(),
            trace.summary()
        );
    }
    Ok(())
}

#[test]
fn a_router_with_one_card_forwards() -> Result<(), LabError> {
    let Some(cards) = cards()? else { return Ok(()) };
    for netns in [&cards.a, &cards.b] {
        netns.netfilter()?;
    }
    // `b` sends back on the same wire what is for a stranger, to the only other card there is.
    let stranger = cards.addresses.v4(0, 99);
    cards.b.sysctl("net/ipv4/ip_forward", "1")?;
    cards.b.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
    let mut addresses = cards.names.iter().zip([&cards.a, &cards.b]);
    let mut next = || -> Result<String, LabError> {
        let (name, netns) = addresses
            .next()
            .ok_or_else(|| LabError::Traffic("two cards".into()))?;
        topology::link_address(netns, name)
    };
    let (a_address, b_address) = (next()?, next()?);
    let neighbour = |address: &str, device: &str| {
        format!("neigh replace {stranger} lladdr {address} dev {device} nud permanent\n")
    };
    cards.a.ip(&neighbour(&b_address, &cards.names[0]))?;
    cards.b.ip(&neighbour(&a_address, &cards.names[1]))?;
    let filter = format!("udp and dst host {stranger}");
    let tracer = Tracer::start(&[&cards.a, &cards.b], &[&filter]);
    let packet = raw::Packet::udp((cards.addresses.v4(0, 1), 40_000), (stranger, 9));
    raw::send(&cards.a, &packet, 100)?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    let trace = tracer.finish();
    let forwarded: Vec<&Journey> = trace
        .journeys
        .iter()
        .filter(|journey| journey.direction == "forward" && journey.in_netns(0, &cards.b))
        .collect();
    assert!(
        100_u64.abs_diff(forwarded.len() as u64) <= trace.missed(),
        "{}",
        trace.summary()
    );
    // As above, the last ones may still be the card's: virtio_net asks to be told when three quarters of what is under way
    // are sent (virtqueue_enable_cb_delayed), and nothing is sent behind these.
    let pending = |journey: &&Journey| {
        let at_the_card = journey.stages.last().is_some_and(|s| s.stage == "driver");
        journey.outcome == "unfinished" && at_the_card
    };
    assert!(
        forwarded.iter().copied().filter(pending).count() <= 50,
        "{}",
        trace.summary()
    );
    let forwarded: Vec<&Journey> = forwarded.into_iter().filter(|j| !pending(j)).collect();
    let whole = |journey: &&&Journey| journey.outcome == "forwarded" && journey.legs.len() == 1;
    assert!(
        forwarded.iter().filter(whole).count() * 100 >= forwarded.len() * 97,
        "{}",
        trace.summary()
    );
    assert_nearly_all(
        &trace,
        &forwarded,
        &[
            "napi_poll",
            "gro",
            "receive",
            "ip",
            "prerouting",
            "routing",
            "forward",
            "postrouting",
            "dev_queue",
            "driver",
            "completion",
        ],
    );
    Ok(())
}
