//! Sections of the `stack` record are as the schema says.

use super::*;
use crate::sink::sample_stack::{connections, nics};

/// Sections, each with the name of its definition.
pub(super) fn sections() -> Vec<(&'static str, Value)> {
    let value = |section: serde_json::Result<Value>| section.expect("a section is JSON");
    vec![
        ("connections", value(serde_json::to_value(connections()))),
        ("nics", value(serde_json::to_value(nics()))),
    ]
}

#[test]
fn sections_are_as_the_schema_says_and_nothing_else() {
    for (definition, mut section) in sections() {
        let mut own = schema();
        own.as_object_mut().expect("an object").remove("oneOf");
        own["$ref"] = format!("#/$defs/{definition}").into();
        let own = jsonschema::validator_for(&own).expect("the schema compiles");
        let errors: Vec<String> = own
            .iter_errors(&section)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{definition}: {}", errors.join("\n"));
        section["surprise"] = true.into();
        assert!(!own.is_valid(&section), "{definition}");
    }
}
