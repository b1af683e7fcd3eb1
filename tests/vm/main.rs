//! Ground truth of what concerns the whole machine, so that it is only tried in guests: function tracing and kprobes switched off, and
//! lockdown. They run one after the other, by name; the last one cannot be undone, and nothing may run after it.

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    process::{Command, Output},
};

use pktjourney::lab::{
    LabError,
    circumstances::{FTRACE, KPROBES, Off},
};
use serde_json::Value;

/// Where lockdown is seen and set.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Only in guests.
fn in_guest() -> bool {
    std::env::var_os("PKTJOURNEY_VM").is_some()
}

fn pktjourney(words: &[&str]) -> Output {
    let binary: OsString = std::env::var_os("PKTJOURNEY_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_pktjourney").into());
    Command::new(binary)
        .args(words)
        .env("NO_COLOR", "1")
        .output()
        .expect("start pktjourney")
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The attach plan's rows: kind, state and reason.
fn plan(words: &[&str]) -> Vec<(String, String, String)> {
    let output = pktjourney(&[&["check", "--json"], words].concat());
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let session = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|line| line["type"] == "session")
        .expect("a session");
    let rows = session["attach_plan"].as_array().expect("a plan");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| (text(row, "kind"), text(row, "state"), text(row, "reason")))
        .collect()
}

/// Kinds of the probes in place.
fn attached(words: &[&str]) -> Vec<String> {
    let mut kinds: Vec<String> = plan(words)
        .into_iter()
        .filter(|(_, state, _)| state == "attached")
        .map(|(kind, ..)| kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Whether some row failed for this.
fn failed_for(words: &[&str], why: &str) -> bool {
    let rows = plan(words);
    rows.iter()
        .any(|(_, state, reason)| state == "failed" && reason.contains(why))
}

#[test]
fn functions_are_not_probed_while_function_tracing_is_off() {
    if !in_guest() {
        return;
    }
    let off = match Off::switch(FTRACE) {
        Ok(off) => off,
        // 7.3 does not let it be switched off: then nothing can be silent for it.
        Err(LabError::Io { source, .. }) if source.kind() == ErrorKind::Unsupported => return,
        Err(error) => panic!("switch function tracing off: {error}"),
    };
    assert_eq!(attached(&[]), ["tp_btf"]);
    assert_eq!(attached(&["--probes", "kprobe"]), ["raw_tp"]);
    assert!(failed_for(&[], "sysctl -w kernel.ftrace_enabled=1"));
    drop(off);
    assert!(attached(&[]).contains(&"fentry".to_owned()));
}

#[test]
fn kprobes_are_not_used_while_they_are_off() {
    if !in_guest() {
        return;
    }
    let off = Off::switch(KPROBES).expect("switch kprobes off");
    let words = ["--probes", "kprobe"];
    assert_eq!(attached(&words), ["raw_tp"]);
    assert!(failed_for(&words, "kprobes are switched off"));
    // What needs none is not touched.
    assert!(attached(&[]).contains(&"fentry".to_owned()));
    drop(off);
    assert!(attached(&words).contains(&"kprobe".to_owned()));
}

#[test]
fn lockdown_for_confidentiality_is_named_whether_it_can_be_seen_or_not() {
    if !in_guest() {
        return;
    }
    let mount = |words: &[&str]| {
        let done = Command::new(words[0]).args(&words[1..]).status();
        assert!(done.expect("start mount").success(), "{words:?}");
    };
    mount(&["mount", "-t", "securityfs", "none", "/sys/kernel/security"]);
    fs::write(LOCKDOWN, "integrity").expect("lock down for integrity");
    assert!(!attached(&[]).is_empty());
    fs::write(LOCKDOWN, "confidentiality").expect("lock down for confidentiality");
    for (seen, words) in [
        (true, "is in confidentiality mode, which"),
        (false, "as it seems"),
    ] {
        for command in [
            &["check"][..],
            &["trace", "--duration", "1s"],
            &["latency", "--duration", "1s"],
            &["drops", "--duration", "1s"],
        ] {
            let output = pktjourney(command);
            let text = complaint(&output);
            assert_eq!(output.status.code(), Some(4), "{command:?}: {text}");
            for words in [words, "lockdown=integrity"] {
                assert!(text.contains(words), "no {words}: {command:?}: {text}");
            }
            assert_eq!(text.lines().count(), 1, "{command:?}: {text}");
        }
        if seen {
            mount(&["umount", "/sys/kernel/security"]);
        }
    }
    // What reads no kernel memory goes on.
    let output = pktjourney(&["stack", "interfaces"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
}
