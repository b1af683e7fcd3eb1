//! `demo`: shows a packet of each kind, and leaves nothing behind however it ends.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

fn start(arguments: &[&str]) -> Child {
    Command::new(crate::binary())
        .arg("demo")
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start pktjourney")
}

/// Namespaces and files that a demo with this process id would leave.
fn left_behind(pid: u32) -> Vec<String> {
    let ours = [format!("pj-{pid}-"), format!("pktjourney-demo-{pid}")];
    ["/run/netns", "/tmp"]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| ours.iter().any(|prefix| name.starts_with(prefix.as_str())))
        .collect()
}

#[test]
fn it_shows_a_packet_of_each_kind() {
    let child = start(&[]);
    let pid = child.id();
    let begun = Instant::now();
    let output = child.wait_with_output().expect("wait");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaints}");
    if std::env::var_os("PKTJOURNEY_VM").is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{:?}",
            begun.elapsed()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    for words in [
        "── An HTTP request over TCP ──",
        "── A UDP datagram ──",
        "── A ping, which the kernel answers by itself ──",
        "── An HTTP request over IPv6 ──",
        "── A datagram that a router forwards: one journey, three legs ──",
        "── A dropped packet ──",
        "── Where the time goes ──",
        "── Where packets are dropped ──",
        "NO_SOCKET",
        "IP_INNOROUTES",
        "lost 0",
    ] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
    let hidden = text.contains("stages not visible");
    assert_eq!(hidden, text.contains("cargo xtask demo --vm"), "{text}");
    assert_eq!(left_behind(pid), [""; 0]);
}

#[test]
fn as_json_it_shows_everything() {
    let output = start(&["--json"]).wait_with_output().expect("wait");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaints}");
    let kinds: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["type"].as_str().expect("a type").to_owned()
        })
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("session"));
    assert_eq!(kinds.last().map(String::as_str), Some("end"));
    for kind in ["journey", "latency", "drop"] {
        assert!(kinds.iter().any(|is| is == kind), "no {kind}");
    }
}

#[test]
fn signals_leave_nothing_behind() {
    // At various moments: while it attaches, while packets flow, while it prints.
    for (signal, after) in [
        (Signal::INT, 300),
        (Signal::TERM, 900),
        (Signal::INT, 1_500),
    ] {
        let mut child = start(&[]);
        let pid = child.id();
        thread::sleep(Duration::from_millis(after));
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&child), signal);
        // Its output is not read: it fits into the pipe.
        child.wait().expect("wait");
        assert_eq!(left_behind(pid), [""; 0], "after {after} ms");
    }
}
