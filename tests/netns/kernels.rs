//! What the kernels of the guests lack: `kernels.toml`, and that it is right in either direction.

use std::{collections::BTreeSet, process::Command};

use serde::Deserialize;
use serde_json::Value;

use crate::tracer::binary;

const LIST: &str = include_str!("kernels.toml");

#[derive(Deserialize)]
struct List {
    missing: Vec<Missing>,
}

/// One of `hook`, `stage`, `fact`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Missing {
    kernels: Vec<String>,
    hook: Option<String>,
    stage: Option<String>,
    fact: Option<String>,
    why: String,
}

/// The kernel line that this guest runs; none outside.
fn line() -> Option<String> {
    std::env::var("PKTJOURNEY_VM").ok()
}

/// What is listed for a kernel line.
fn listed(line: &str, what: fn(&Missing) -> &Option<String>) -> BTreeSet<String> {
    let list: List = toml::from_str(LIST).expect("kernels.toml");
    let here = list
        .missing
        .iter()
        .filter(|m| m.kernels.iter().any(|k| k == line));
    here.filter_map(|m| what(m).clone()).collect()
}

/// Whether a fact is listed as missing here. Who asks must fail when it is there after all.
pub fn lacks(fact: &str) -> bool {
    line().is_some_and(|line| listed(&line, |m| &m.fact).contains(fact))
}

#[test]
fn each_line_of_the_list_says_one_thing_and_why() {
    let list: List = toml::from_str(LIST).expect("kernels.toml");
    for missing in list.missing {
        let said = [&missing.hook, &missing.stage, &missing.fact];
        assert_eq!(
            said.iter().filter(|one| one.is_some()).count(),
            1,
            "{said:?}"
        );
        assert!(
            !missing.why.is_empty() && !missing.kernels.is_empty(),
            "{said:?}"
        );
    }
}

#[test]
fn the_kernel_lacks_what_is_listed_and_nothing_else() {
    let Some(line) = line() else { return };
    let output = Command::new(binary())
        .args(["check", "--json"])
        .output()
        .expect("start pktjourney");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let session = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["type"] == "session")
        .expect("a session");
    let plan = session["attach_plan"].as_array().expect("attach_plan");
    let names = |attached: bool| -> BTreeSet<String> {
        plan.iter()
            .filter(|row| (row["state"] == "attached") == attached)
            .filter_map(|row| row["hook"].as_str().map(str::to_owned))
            .collect()
    };
    let (attached, failed) = (names(true), names(false));
    let hooks: BTreeSet<String> = failed.difference(&attached).cloned().collect();
    assert_eq!(hooks, listed(&line, |m| &m.hook), "hooks: {plan:#?}");
    let stages: BTreeSet<String> = session["not_probed"]
        .as_array()
        .expect("not_probed")
        .iter()
        .filter_map(|entry| entry["stage"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(
        stages,
        listed(&line, |m| &m.stage),
        "stages: {}",
        session["not_probed"]
    );
}
