//! Lines of the tool's output against `docs/schema/pktjourney.schema.json`.

use std::{collections::BTreeMap, sync::OnceLock};

use jsonschema::Validator;
use serde_json::Value;

/// Part of the program: the guest has no repository.
const SCHEMA: &str = include_str!("../../docs/schema/pktjourney.schema.json");

/// So many lines of journeys are validated in each output, evenly spread over it; of all other lines, each. An
/// emulated processor takes a millisecond or two for one.
const JOURNEYS: usize = 1_000;

/// How the line of a journey begins.
pub const JOURNEY: &str = "{\"type\":\"journey\"";

/// A validator for each type of line, compiled once.
fn validators() -> &'static BTreeMap<String, Validator> {
    static VALIDATORS: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
        let types = schema["oneOf"].as_array().expect("a list of types");
        let validator = |definition: &Value| {
            let reference = definition["$ref"].as_str().expect("a reference");
            let name = reference.rsplit('/').next().expect("a name").to_owned();
            // One type in place of the choice of all: quicker, and errors say what is wrong.
            let mut own = schema.clone();
            own.as_object_mut().expect("an object").remove("oneOf");
            own["$ref"] = reference.into();
            let own = jsonschema::validator_for(&own).expect("the schema compiles");
            (name, own)
        };
        types.iter().map(validator).collect()
    })
}

/// Asserts that this line is what the schema says.
pub fn check_line(line: &str) {
    let record: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let kind = record["type"].as_str().unwrap_or_default();
    let validator = validators()
        .get(kind)
        .unwrap_or_else(|| panic!("no such type in the schema: {line}"));
    let errors: Vec<String> = validator
        .iter_errors(&record)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "not what the schema says:\n{}\n{line}",
        errors.join("\n")
    );
}

/// Asserts it of an output's lines: all that are no journeys, and of these not more than [`JOURNEYS`].
pub fn check(output: &str) {
    let (journeys, others): (Vec<&str>, Vec<&str>) =
        output.lines().partition(|line| line.starts_with(JOURNEY));
    let step = journeys.len().div_ceil(JOURNEYS).max(1);
    for line in others.into_iter().chain(journeys.into_iter().step_by(step)) {
        check_line(line);
    }
}

#[test]
#[should_panic(expected = "not what the schema says")]
fn a_line_that_the_schema_does_not_describe_is_refused() {
    check("{\"type\":\"warning\",\"code\":\"no_symbols\",\"message\":\"-\",\"surprise\":1}\n");
}
