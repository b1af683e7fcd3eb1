//! Runs the tool, and others, in a namespace.

use std::{ffi::OsString, process::Command};

use pktjourney::lab::Netns;
use serde_json::Value;

/// The binary under test.
pub fn binary() -> OsString {
    std::env::var_os("PKTJOURNEY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pktjourney").into())
}

/// What `pktjourney stack --json` writes with these options, a record a line.
pub fn records(options: &[&str]) -> Vec<Value> {
    let output = Command::new(binary())
        .args(["stack", "--json"])
        .args(options)
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The one record of this type.
pub fn only(records: &[Value], kind: &str) -> Value {
    let mut all = records.iter().filter(|record| record["type"] == kind);
    match (all.next(), all.next()) {
        (Some(record), None) => record.clone(),
        _ => panic!("not one {kind} in {records:?}"),
    }
}

/// The record that it writes of a namespace.
pub fn stack(netns: &Netns) -> Value {
    let record = only(&records(&["--netns", netns.name()]), "stack");
    for (section, definition) in [("connections", "connections"), ("nic", "nics")] {
        is_described(&record[section], definition);
    }
    record
}

/// A section is as `docs/schema/pktjourney.schema.json` says.
pub fn is_described(section: &Value, definition: &str) {
    let schema = include_str!("../../docs/schema/pktjourney.schema.json");
    let mut schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    schema.as_object_mut().expect("an object").remove("oneOf");
    schema["$ref"] = format!("#/$defs/{definition}").into();
    let schema = jsonschema::validator_for(&schema).expect("the schema compiles");
    let errors: Vec<String> = schema
        .iter_errors(section)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{definition}: {}", errors.join("\n"));
}

/// What it writes for people.
pub fn text(netns: &Netns, section: &str) -> String {
    let output = Command::new(binary())
        .args(["stack", section, "--netns", netns.name()])
        .output()
        .expect("the tool runs");
    String::from_utf8(output.stdout).expect("text")
}

/// What another tool writes in a namespace.
pub fn run(netns: &Netns, program: &str, arguments: &[&str]) -> String {
    netns
        .exec(program, arguments)
        .unwrap_or_else(|error| panic!("{error}"))
}
