//! The expressions in docs/filter.md and in the help do what they are said to do.

use super::super::{Filter, FilterErrorKind, HELP};

const DOC: &str = include_str!("../../../../docs/filter.md");

/// The lines of every block of code in this language.
fn blocks(language: &str) -> impl Iterator<Item = &str> {
    let mut inside = "";
    DOC.lines().filter(move |line| {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence;
            return false;
        }
        inside == language && !language.is_empty()
    })
}

#[test]
fn the_documents_examples_parse() {
    let mut count = 0;
    for line in blocks("filter") {
        let expression = line
            .split_once("  # ")
            .map_or(line, |(expression, _)| expression);
        Filter::parse(expression).unwrap_or_else(|error| panic!("{error}"));
        count += 1;
    }
    assert!(count >= 30, "{count} examples");
}

#[test]
fn the_documents_unsupported_examples_are_unsupported() {
    let mut count = 0;
    for line in blocks("unsupported") {
        let error = Filter::parse(line).expect_err(line);
        assert_eq!(error.kind(), FilterErrorKind::Unsupported, "{error}");
        count += 1;
    }
    assert!(count >= 5, "{count} examples");
}

#[test]
fn the_documents_error_is_what_is_printed() {
    let shown: Vec<&str> = blocks("error").collect();
    let expression = shown.get(1).expect("the expression's line").trim();
    assert_eq!(
        Filter::parse(expression).expect_err(expression).to_string(),
        shown.join("\n")
    );
}

#[test]
fn the_helps_examples_parse_and_it_fits_a_terminal() {
    let examples: Vec<&str> = HELP
        .lines()
        .filter_map(|line| line.trim().strip_prefix('\'')?.strip_suffix('\''))
        .collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        Filter::parse(example).unwrap_or_else(|error| panic!("{error}"));
    }
    assert!(HELP.lines().all(|line| line.chars().count() <= 80));
}
