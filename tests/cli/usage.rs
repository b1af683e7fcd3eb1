//! Help, version, and what is refused.

use std::fs;

use crate::{complaints, pktjourney};

#[test]
fn help_and_version_go_to_stdout() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["--version"],
        &["trace", "--help"],
        &["help", "latency"],
        &["drops", "-h"],
        &["check", "--help"],
        &["demo", "--help"],
    ] {
        let output = pktjourney(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_where() {
    for (arguments, words) in [
        (&[][..], "Usage"),
        (&["follow"], "follow"),
        (&["trace", "--no-such-option"], "--no-such-option"),
        (&["trace", "--duration", "soon"], "soon"),
        (&["trace", "-c", "0"], "0"),
        (&["trace", "--probes", "magic"], "magic"),
        (&["trace", "tcp", "prot", "80"], "prot"),
        (&["trace", "host"], "host"),
        (&["latency", "port", "99999"], "99999"),
        (&["drops", "-r", "a", "-w", "b"], "-"),
    ] {
        let output = pktjourney(arguments);
        let text = complaints(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?} prints to stdout");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

#[test]
fn a_recording_that_cannot_be_read_exits_with_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let damaged = directory.path().join("damaged.pjy");
    fs::write(&damaged, "this is no recording").expect("write");
    let damaged = damaged.to_str().expect("UTF-8");
    for file in ["/nonexistent/x.pjy", damaged, "/"] {
        for command in ["trace", "latency", "drops"] {
            let output = pktjourney(&[command, "-r", file]);
            let text = complaints(&output);
            assert_eq!(output.status.code(), Some(1), "{command} -r {file}: {text}");
            assert!(text.contains(file), "{command} -r {file}: {text}");
            assert!(!text.contains("panicked"), "{text}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_exits_with_1() {
    let output = pktjourney(&["trace", "--duration", "1s", "-w", "/nonexistent/x.pjy"]);
    let text = complaints(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/nonexistent/x.pjy"), "{text}");
}

#[test]
fn an_unknown_namespace_is_named() {
    for option in ["--bookends", "--netns"] {
        let output = pktjourney(&["trace", "--duration", "1s", option, "pj-no-such"]);
        let text = complaints(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
        assert!(text.contains("pj-no-such"), "{text}");
    }
}

#[test]
fn check_says_what_this_kernel_allows() {
    let output = pktjourney(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaints(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for hook in ["kfree_skb", "netif_receive_skb", "tp_btf"] {
        assert!(text.contains(hook), "no {hook}: {text}");
    }
    let output = pktjourney(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaints(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let session = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|line| line["type"] == "session")
        .expect("a session");
    assert!(
        session["attach_plan"]
            .as_array()
            .is_some_and(|plan| plan.len() > 20),
        "{session}"
    );
}

#[test]
fn without_privilege_it_exits_with_3() {
    // As nobody, from a place where nobody may read it.
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("pktjourney");
    // by another program: had we it open for writing, what another test starts now would too, and it could not be run
    let copied = std::process::Command::new("cp")
        .arg(crate::binary())
        .arg(&copy)
        .status();
    assert!(copied.expect("start cp").success(), "copy the binary");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), mode).expect("open the directory");
    let mut command = std::process::Command::new(&copy);
    command.args(["trace", "--duration", "1s"]);
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    let output = command.output().expect("start pktjourney");
    let text = complaints(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("root") || text.contains("CAP_"), "{text}");
}
