//! At the highest rate that this machine sends: the ledger balances, and no packet is missing from it.

use std::time::Duration;

use pktjourney::lab::{Addresses, LabError, Pair, counters, traffic::udp::Flow};
use serde_json::Value;

use crate::{
    schema::JOURNEY,
    trace::OUTCOMES,
    tracer::{Tracer, netfilter_flags, patience},
};

/// Runs a command of the tool while a flood lasts: its `end` line, and the packets that the kernel counted. With `asleep` the tool is
/// stopped before the flood and goes on after it.
fn flood(command: &[&str], asleep: bool) -> Result<(Value, u64), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let mut arguments: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
    arguments.extend(netfilter_flags(&[&pair.a, &pair.b]));
    // There are too many journeys to keep.
    let mut tracer = Tracer::spawn_keeping(&arguments, |line| !line.starts_with(JOURNEY));
    tracer.wait_for("\"type\":\"session\"", patience(20));
    let (_, before) = counters::device(&pair.a, "a0")?;
    if asleep {
        tracer.signal(rustix::process::Signal::STOP);
    }
    let (sent, read) = flow.flood(Duration::from_secs(2), 64)?;
    if asleep {
        tracer.signal(rustix::process::Signal::CONT);
    }
    let (_, after) = counters::device(&pair.a, "a0")?;
    tracer.signal(rustix::process::Signal::INT);
    let (status, output, complaints) = tracer.wait(patience(60));
    assert!(status.success(), "{status}: {complaints}");
    let end: Value = serde_json::from_str(output.lines().last().expect("lines")).expect("JSON");
    assert_eq!(end["type"], "end", "{end}");
    assert!(
        sent >= read && after - before >= sent,
        "{sent} {read} {before} {after}"
    );
    Ok((end, after - before))
}

/// Asserts the balance, and that at least so many packets are in it.
fn assert_balanced(end: &Value, kernel: u64) {
    let entry = |name: &str| {
        end["ledger"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name}: {end}"))
    };
    let sum: u64 = OUTCOMES.iter().map(|outcome| entry(outcome)).sum();
    assert_eq!(entry("seen"), sum + entry("lost"), "{end}");
    assert!(
        entry("seen") >= kernel,
        "the kernel counted {kernel} packets: {end}"
    );
}

#[test]
fn a_flood_is_balanced_in_latency() -> Result<(), LabError> {
    let (end, kernel) = flood(&["latency", "--json"], false)?;
    assert_balanced(&end, kernel);
    Ok(())
}

#[test]
fn a_flood_is_balanced_in_trace() -> Result<(), LabError> {
    let (end, kernel) = flood(&["trace", "--json"], false)?;
    assert_balanced(&end, kernel);
    Ok(())
}

#[test]
fn a_reader_that_sleeps_says_what_it_lost() -> Result<(), LabError> {
    let (end, kernel) = flood(&["trace", "--json", "--buffer-size", "64K"], true)?;
    let lost = end["ledger"]["lost"].as_u64().expect("a number");
    assert!(
        lost > 0,
        "{kernel} packets do not fit into the rings: {end}"
    );
    assert_balanced(&end, kernel);
    Ok(())
}
