//! The schema, docs/output.md and the program's own types say the same.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const DOCUMENT: &str = include_str!("../../../../../docs/output.md");

/// Field name → whether it is always there.
type Fields = BTreeMap<String, bool>;

/// The schema's objects.
fn in_schema() -> BTreeMap<String, Fields> {
    let schema = schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let objects = definitions.iter().filter_map(|(name, definition)| {
        let properties = definition["properties"].as_object()?;
        assert_eq!(
            definition["additionalProperties"], false,
            "{name} is closed"
        );
        let required = definition["required"].as_array().expect("required fields");
        let is_required = |field: &String| required.iter().any(|name| name.as_str() == Some(field));
        Some((
            name.clone(),
            properties
                .keys()
                .map(|field| (field.clone(), is_required(field)))
                .collect(),
        ))
    });
    objects.collect()
}

/// The document's tables, by the word in their heading.
fn in_document() -> BTreeMap<String, Fields> {
    let mut sections: BTreeMap<String, Fields> = BTreeMap::new();
    let mut heading = String::new();
    for line in DOCUMENT.lines() {
        let mut words = line.split('`');
        if line.starts_with('#') {
            heading = words.nth(1).unwrap_or("").to_owned();
        } else if line.starts_with("| `") {
            let field = words.nth(1).expect("a field").to_owned();
            let always =
                line.split(" | ").nth(3) == Some("always") || line.contains("| | always |");
            sections
                .entry(heading.clone())
                .or_default()
                .insert(field, always);
        }
    }
    sections
}

#[test]
fn schema_and_document_have_the_same_fields() {
    let (schema, document) = (in_schema(), in_document());
    let names = |all: &BTreeMap<String, Fields>| all.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&schema), names(&document));
    for (name, fields) in &schema {
        assert_eq!(
            Some(fields),
            document.get(name),
            "fields of {name}, and whether they are always there"
        );
    }
}

#[test]
fn schema_and_stages_have_the_same_names() {
    let names: Vec<&str> = StageName::ALL.iter().map(|stage| stage.as_str()).collect();
    assert_eq!(
        schema()["$defs"]["stage_name"]["enum"],
        serde_json::json!(names)
    );
}

/// Which definition a field's value is of, through arrays, maps and `null`.
fn definition_of(field: &Value) -> Option<&str> {
    let reference = field
        .get("$ref")
        .or_else(|| field["items"].get("$ref"))
        .or_else(|| field["oneOf"][0].get("$ref"))?;
    reference.as_str()?.strip_prefix("#/$defs/")
}

/// Notes the fields that a record really has.
fn visit(record: &Value, definition: &str, schema: &Value, found: &mut BTreeSet<(String, String)>) {
    if let Some(items) = record.as_array() {
        items
            .iter()
            .for_each(|item| visit(item, definition, schema, found));
    }
    for (field, value) in record.as_object().into_iter().flatten() {
        found.insert((definition.to_owned(), field.clone()));
        let described = &schema["$defs"][definition]["properties"][field];
        if let Some(inner) = definition_of(described) {
            visit(value, inner, schema, found);
        }
        if let Some(inner) = definition_of(&described["additionalProperties"]) {
            let values = value.as_object().into_iter().flat_map(|map| map.values());
            values.for_each(|value| visit(value, inner, schema, found));
        }
    }
}

#[test]
fn every_field_of_the_schema_is_really_written() {
    let schema = schema();
    let mut found = BTreeSet::new();
    for record in everything() {
        visit(
            &record,
            record["type"].as_str().expect("a type"),
            &schema,
            &mut found,
        );
    }
    for (definition, section) in stack::sections() {
        visit(&section, definition, &schema, &mut found);
    }
    for (name, fields) in in_schema() {
        for field in fields.into_keys() {
            assert!(
                found.contains(&(name.clone(), field.clone())),
                "no test record has {name}.{field}"
            );
        }
    }
}

const STAGES: &str = include_str!("../../../../../docs/stages.md");

#[test]
fn every_stage_and_hook_is_described() {
    for stage in StageName::ALL {
        let row = format!("| `{}` |", stage.as_str());
        assert!(
            STAGES.contains(&row),
            "docs/stages.md has no row for {}",
            stage.as_str()
        );
    }
    let targets = crate::probe::catalogue::CATALOGUE
        .iter()
        .flat_map(|spec| spec.alternatives.iter());
    for target in targets.flat_map(|alternative| alternative.iter()) {
        let name = target.name();
        assert!(
            STAGES.contains(&format!("`{name}`")),
            "docs/stages.md does not mention {name}"
        );
    }
}
