//! Runs every `*.toml` beside this file: records go in, byte for byte as the kernel side would send them,
//! and the journeys that come out must be those written down.
//!
//! Each scenario runs several times: records all at once, with a tick after every millisecond, and with the
//! rings drained in another order. What comes out must be the same.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test"
)]

mod expect;
mod spec;
mod wire;

use std::path::PathBuf;

use pktjourney::journey::assembler::{Assembler, Limits};
use spec::{Scenario, Step};

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let scenario = toml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, scenario)
        })
        .collect()
}

/// How the records reach the assembler.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    AtOnce,
    Ticking,
    OtherRingsFirst,
}

fn run(scenario: &Scenario, delivery: Delivery) -> (String, Assembler) {
    let defaults = Limits::default();
    let mut assembler = Assembler::new(Limits {
        open_journeys: scenario
            .limits
            .open_journeys
            .unwrap_or(defaults.open_journeys),
        age_ns: scenario.limits.age_ns.unwrap_or(defaults.age_ns),
        hold_ns: scenario.limits.hold_ns.unwrap_or(defaults.hold_ns),
        linger_ns: scenario.limits.linger_ns.unwrap_or(defaults.linger_ns),
        // Whoever waits falls asleep.
        awake: match delivery {
            Delivery::Ticking => 0,
            Delivery::AtOnce | Delivery::OtherRingsFirst => defaults.awake,
        },
    });
    assembler.set_probed(scenario.probed());
    assembler.set_queue_purge(scenario.queue_purge);
    let mut steps: Vec<&Step> = scenario.step.iter().collect();
    if matches!(delivery, Delivery::OtherRingsFirst) {
        // One ring keeps its order; the rings come in another.
        steps.sort_by_key(|step| std::cmp::Reverse(step.cpu()));
    }
    let mut journeys = Vec::new();
    let mut end = 0;
    for step in steps {
        if let Some(time) = step.tick {
            assembler.tick(time);
            end = end.max(time);
        } else if let Some(counters) = &step.counters {
            assembler.set_counters(counters.counters());
        } else {
            let bytes = wire::bytes(scenario, step);
            let record =
                pktjourney::decode::decode(&bytes).unwrap_or_else(|e| panic!("{step:?}: {e}"));
            assembler.push(record);
        }
        while let Some(journey) = assembler.pop() {
            journeys.push(journey);
        }
    }
    if matches!(delivery, Delivery::Ticking) {
        for millisecond in 0..200 {
            assembler.tick(end + millisecond * 1_000_000);
            while let Some(journey) = assembler.pop() {
                journeys.push(journey);
            }
        }
    }
    assembler.finish(end.max(scenario.end.unwrap_or(1_000_000_000)));
    while let Some(journey) = assembler.pop() {
        journeys.push(journey);
    }
    for journey in &journeys {
        let sum: u64 = journey.stages.iter().map(|s| s.ns).sum();
        assert_eq!(sum, journey.total, "stages must sum to the total");
    }
    assert!(assembler.ledger().balances(), "{:?}", assembler.ledger());
    journeys.sort_by_key(|j| j.id);
    (expect::render(scenario, &journeys), assembler)
}

#[test]
fn scenarios_give_what_they_say() {
    let mut failed = Vec::new();
    for (name, scenario) in scenarios() {
        let expected = expect::expected(&scenario);
        let orders: &[Delivery] = if scenario.arrival_matters {
            &[Delivery::AtOnce]
        } else {
            &[
                Delivery::AtOnce,
                Delivery::Ticking,
                Delivery::OtherRingsFirst,
            ]
        };
        for &delivery in orders {
            let (got, assembler) = run(&scenario, delivery);
            if got != expected {
                eprintln!(
                    "==== {name} ({delivery:?}): {}\n---- expected\n{expected}\n---- got\n{got}",
                    scenario.about
                );
                failed.push(name.clone());
                break;
            }
            if let Some(ledger) = &scenario.ledger {
                let got = expect::ledger(&assembler);
                if got != *ledger {
                    eprintln!("==== {name} ({delivery:?})\nexpected {ledger:?}\n     got {got:?}");
                    failed.push(name.clone());
                    break;
                }
            }
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}
