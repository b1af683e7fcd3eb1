//! Runs the tool, and others, in a namespace.

use std::{ffi::OsString, process::Command};

use pktjourney::lab::Netns;
use serde_json::Value;

/// The binary under test.
fn binary() -> OsString {
    std::env::var_os("PKTJOURNEY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pktjourney").into())
}

/// The record that `pktjourney stack --json` writes of a namespace.
pub fn stack(netns: &Netns) -> Value {
    let output = Command::new(binary())
        .args(["stack", "--json", "--netns", netns.name()])
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
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
