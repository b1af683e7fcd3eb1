//! JSON records: what a reader relies on.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::aggregate::{drops::Drops, latency::Latency};
use crate::journey::model::{Flow, Ledger, LinkKind, Losses, Outcome, Stage, Unfinished};
use crate::journey::stage::StageName;
use crate::kernel::features::{Answer, Facts, Lockdown};
use crate::session::Sample;
use crate::sink::sample;

mod documented;
mod report;
mod stack;

const SCHEMA: &str = include_str!("../../../../docs/schema/pktjourney.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

/// What the sink writes, line by line.
fn lines(write: impl FnOnce(&mut Json<Vec<u8>>) -> io::Result<()>) -> Vec<Value> {
    let mut json = Json::new(Vec::new());
    write(&mut json).expect("a vector takes everything");
    let text = String::from_utf8(json.out).expect("JSON is UTF-8");
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

#[test]
fn the_first_key_is_the_type() {
    let mut json = Json::new(Vec::new());
    json.session(&sample::session())
        .expect("a vector takes everything");
    assert!(
        json.out
            .starts_with(b"{\"type\":\"session\",\"schema_version\":1,")
    );
}

#[test]
fn flow_keys_are_opentelemetrys() {
    let lines = lines(|json| json.journey(&sample::delivered(), &sample::names()));
    let flow = &lines[0]["flow"];
    assert_eq!(flow["network.type"], "ipv4");
    assert_eq!(flow["network.transport"], "tcp");
    assert_eq!(flow["source.address"], "10.0.0.1");
    assert_eq!(flow["source.port"], 1234);
    assert_eq!(flow["destination.address"], "10.0.0.2");
    assert_eq!(flow["destination.port"], 80);
}

#[test]
fn durations_are_exact() {
    let lines = lines(|json| json.journey(&sample::delivered(), &sample::names()));
    let ns = |value: &Value| value.as_u64().expect("a whole number");
    let stages = lines[0]["stages"].as_array().expect("an array");
    assert_eq!(
        stages.iter().map(|stage| ns(&stage["ns"])).sum::<u64>(),
        ns(&lines[0]["total_ns"])
    );
    assert_eq!(lines[0]["time"], "2027-01-15T08:00:05.123456789Z");
}

#[test]
fn a_stack_is_left_out_when_asked() {
    let mut json = Json::new(Vec::new()).stacks(false);
    json.journey(&sample::dropped(), &sample::names())
        .expect("a vector takes everything");
    let record: Value = serde_json::from_slice(&json.out).expect("JSON");
    assert_eq!(record["drop"]["function"], "__udp4_lib_rcv");
    assert_eq!(record["drop"]["offset"], 0x42);
    assert_eq!(record["drop"].get("stack"), None);
}

#[test]
fn what_the_writer_says_comes_back() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = Json::new(Closed)
        .session(&sample::session())
        .expect_err("the pipe is closed");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

fn dropped_in_module() -> Journey {
    let mut journey = sample::dropped();
    let drop = journey.drop.as_mut().expect("the sample was dropped");
    drop.location = sample::IN_MODULE;
    journey
}

/// Journeys that between them have every field.
fn journeys() -> Vec<Journey> {
    let flow = sample::flow();
    let delivered = sample::delivered();
    let with_flow = |flow: Flow| Journey {
        flow: Some(flow),
        ..delivered.clone()
    };
    let ping = Flow {
        protocol: 58,
        ports: None,
        tcp: None,
        icmp: Some((128, 0)),
        ..flow
    };
    let fragment = Flow {
        protocol: 99,
        ports: None,
        tcp: None,
        fragment: Some((1480, true)),
        ..flow
    };
    let mut unknown = sample::dropped();
    unknown.flow = None;
    unknown.drop = unknown.drop.map(|drop| crate::journey::model::Drop {
        reason: None,
        location: 0,
        stack: Vec::new(),
        ..drop
    });
    unknown.legs.iter_mut().for_each(|leg| leg.netns = 0);
    let mut journeys = vec![
        sample::dropped(),
        unknown,
        with_flow(ping),
        with_flow(fragment),
    ];
    for why in [
        Unfinished::Aged,
        Unfinished::Evicted,
        Unfinished::TraceEnded,
        Unfinished::AddressReused,
        Unfinished::RecordLost,
    ] {
        let mut journey = Journey {
            outcome: Outcome::Unfinished(why),
            partial: true,
            ..delivered.clone()
        };
        journey
            .legs
            .iter_mut()
            .for_each(|leg| leg.outcome = journey.outcome);
        journeys.push(journey);
    }
    for kind in [
        LinkKind::MergedInto,
        LinkKind::SplitFrom,
        LinkKind::RetransmitOf,
    ] {
        let mut journey = delivered.clone();
        journey.links.push(crate::journey::model::Link {
            kind,
            journey: crate::journey::model::JourneyId(9),
        });
        journeys.push(journey);
    }
    // Every stage name.
    let every = StageName::ALL.iter().filter_map(|&name| {
        Some(Stage {
            name,
            ..*delivered.stages.first()?
        })
    });
    journeys.push(Journey {
        stages: every.collect(),
        ..delivered.clone()
    });
    journeys.push(delivered);
    journeys.push(dropped_in_module());
    journeys
}

/// What `check` writes: its record is made of the kernel module's own types.
fn checks() -> [Value; 2] {
    let mut facts = Facts::default();
    let nothing_known = serde_json::json!({
        "type": "check", "facts": facts, "missing": facts.missing(), "obstacle": "no BTF",
    });
    facts.version = Some((6, 12));
    facts.btf = Answer::Yes;
    facts.bpf = Answer::No("not permitted".into());
    facts.lockdown = Lockdown::Integrity;
    facts.unprivileged_bpf_disabled = Some(2);
    facts.perf_event_paranoid = Some(-1);
    facts.bpf_stats_enabled = Some(false);
    facts.locked_memory_limit = Some(65_536);
    facts.switches.ftrace = Some(true);
    facts.switches.kprobes = Some(false);
    [
        nothing_known,
        serde_json::json!({ "type": "check", "facts": facts, "missing": [] }),
    ]
}

/// Every kind of record, with every field.
fn everything() -> Vec<Value> {
    let names = sample::names();
    let mut latency = Latency::new();
    let mut drops = Drops::with_limit(1);
    for journey in &journeys() {
        latency.add(journey);
        drops.add(journey);
    }
    for stage in [StageName::Input, StageName::Forward, StageName::Receive] {
        let mut journey = sample::dropped();
        journey.drop.as_mut().expect("the sample was dropped").stage = stage;
        drops.add(&journey);
    }
    let mut in_module = Drops::default();
    in_module.add(&dropped_in_module());
    let mut without_reason = sample::dropped();
    without_reason
        .drop
        .as_mut()
        .expect("the sample was dropped")
        .reason = None;
    in_module.add(&without_reason);
    let mut all = checks().to_vec();
    all.extend(lines(|json| {
        json.session(&sample::session())?;
        json.stack(&report::report())?;
        json.meanwhile(&report::meanwhile())?;
        json.warning(&Warning {
            code: "test",
            message: "all is well".into(),
        })?;
        journeys()
            .iter()
            .try_for_each(|journey| json.journey(journey, &names))?;
        json.journey(&without_reason, &names)?;
        json.latency(&latency.rows(), latency.excluded())?;
        json.drops(&drops.groups(), &names)?;
        json.drops(&in_module.groups(), &names)?;
        json.end(&End {
            ledger: Ledger {
                seen: 3,
                sent: 3,
                ..Ledger::default()
            },
            losses: Losses::default(),
            duration: Duration::from_secs(1),
            matched: 3,
            sample: Some((Sample { one_in: 100 }, 7)),
            budget: Some(sample::account()),
        })
    }));
    all
}

#[test]
fn every_record_is_as_the_schema_says() {
    let schema = schema();
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    let validator = jsonschema::validator_for(&schema).expect("the schema compiles");
    for record in everything() {
        if validator.is_valid(&record) {
            continue;
        }
        // Against its own definition, to say what is wrong.
        let kind = record["type"].as_str().expect("a type").to_owned();
        let mut own = schema.clone();
        own.as_object_mut().expect("an object").remove("oneOf");
        own["$ref"] = format!("#/$defs/{kind}").into();
        let own = jsonschema::validator_for(&own).expect("the schema compiles");
        let errors: Vec<String> = own
            .iter_errors(&record)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        panic!("{record}\n{}", errors.join("\n"));
    }
}

#[test]
fn the_schema_refuses_what_is_not_described() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema compiles");
    for mut record in everything() {
        record["surprise"] = true.into();
        assert!(!validator.is_valid(&record), "{record}");
    }
}
