//! Less than root, and a kernel without BTF: what can be had then is as true, and what cannot is said with the way out.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use pktjourney::lab::{
    Addresses, LabError, Pair,
    circumstances::{as_nobody, grant, with_locked_memory, without_btf},
    traffic::udp::Flow,
};
use rustix::thread::CapabilitySet as Set;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    kernels::lacks,
    schema,
    tracer::{Tracer, binary, patience, some},
};

type Result = std::result::Result<(), LabError>;

/// What tracing takes at least.
const LEAST: Set = Set::BPF.union(Set::PERFMON);
/// What the message tells users to grant.
const GRANTED: Set = LEAST.union(Set::NET_ADMIN).union(Set::SYSLOG);

/// A copy of the program where nobody may read it; it goes with the guard. Another program writes it: while this one had it
/// open for writing, what another test starts at that moment would have it too, and it could not be run.
fn copy() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), mode).expect("open the folder");
    let program = folder.path().join("pktjourney");
    let copied = Command::new("cp").arg(binary()).arg(&program).status();
    assert!(copied.expect("start cp").success(), "copy the program");
    (folder, program)
}

/// Runs `pktjourney WORDS` in some circumstances.
fn run(words: &[&str], prepare: impl FnOnce(&mut Command)) -> Output {
    let (_folder, program) = copy();
    let mut command = Command::new(program);
    command.args(words).env("NO_COLOR", "1");
    prepare(&mut command);
    command.output().expect("start pktjourney")
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines that `check --json` printed.
fn checked(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    schema::check(&text);
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Capabilities that `check` names as missing.
fn missing(record: &Value) -> Vec<&str> {
    let missing = record["missing"].as_array().expect("missing");
    missing
        .iter()
        .filter_map(|one| one["capability"].as_str())
        .collect()
}

/// Rows of the attach plan with this kind that are, or are not, in place: their hooks and why.
fn rows(lines: &[Value], kind: &str, state: &str) -> Vec<(String, String)> {
    let session = lines.iter().find(|line| line["type"] == "session");
    let plan = session.expect("a session")["attach_plan"].as_array();
    plan.expect("a plan")
        .iter()
        .filter(|row| row["kind"] == kind && row["state"] == state)
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            (text("hook"), text("reason"))
        })
        .collect()
}

#[test]
fn a_budget_needs_statistics_and_says_so() {
    let command = ["latency", "--budget", "2%", "--duration", "1s"];
    let output = run(&command, |command| {
        as_nobody(command, GRANTED);
    });
    let text = complaint(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    for words in [
        "a budget needs the kernel's run statistics",
        "CAP_SYS_ADMIN",
        "kernel.bpf_stats_enabled=1",
    ] {
        assert!(text.contains(words), "no {words}: {text}");
    }
}

#[test]
fn what_is_missing_is_named_with_the_way_to_get_it() {
    let too_little = [
        (Set::empty(), "CAP_BPF and CAP_PERFMON missing"),
        (Set::NET_ADMIN, "CAP_BPF and CAP_PERFMON missing"),
        (Set::SYSLOG, "CAP_BPF and CAP_PERFMON missing"),
        (Set::BPF, "trace: CAP_PERFMON missing"),
        (Set::BPF | Set::NET_ADMIN, "trace: CAP_PERFMON missing"),
        (Set::PERFMON, "trace: CAP_BPF missing"),
        (Set::PERFMON | Set::NET_ADMIN, "trace: CAP_BPF missing"),
    ];
    for (held, words) in too_little {
        let commands = [
            &["check"][..],
            &["trace", "--duration", "1s"],
            &["latency", "--duration", "1s"],
            &["drops", "--duration", "1s"],
        ];
        // They share what decides it: all of them once, one of them always.
        let commands = &commands[..if held.is_empty() { 4 } else { 1 }];
        for &command in commands {
            let output = run(command, |command| {
                as_nobody(command, held);
            });
            let text = complaint(&output);
            let context = format!("{held:?} {command:?}: {text}");
            assert_eq!(output.status.code(), Some(3), "{context}");
            for words in [words, "sudo", "setcap cap_bpf,cap_perfmon", "/pktjourney"] {
                assert!(text.contains(words), "no {words}: {context}");
            }
            assert_eq!(text.lines().count(), 1, "{context}");
        }
    }
}

/// Traces datagrams with a prepared program, and finds each of them.
fn sees_every_datagram(what: &str, prepare: impl FnOnce(&mut Command)) -> Result {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let (_folder, program) = copy();
    let mut command = Command::new(&program);
    let filter = format!("udp and host {to} and port {}", flow.port()?);
    command.args(["trace", "--json", &filter]);
    prepare(&mut command);
    let tracer = Tracer::spawn_command(command, |_| true);
    tracer.wait_for("\"type\":\"session\"", patience(20));
    let count = some(200);
    flow.deliver(count, 100)?;
    let trace = tracer.finish();
    let delivered = trace.journeys.iter().filter(|j| j.outcome == "delivered");
    assert_eq!(
        delivered.count() as u64,
        count,
        "{what}: {}",
        trace.summary()
    );
    assert_eq!(
        trace.journeys.len() as u64,
        count,
        "{what}: {}",
        trace.summary()
    );
    Ok(())
}

#[test]
fn less_than_root_sees_the_same_packets() -> Result {
    for held in [LEAST, GRANTED, Set::SYS_ADMIN] {
        sees_every_datagram(&format!("{held:?}"), |command| {
            as_nobody(command, held);
        })?;
    }
    Ok(())
}

#[test]
fn what_setcap_grants_is_enough() -> Result {
    sees_every_datagram("file capabilities", |command| {
        let program = PathBuf::from(command.get_program());
        grant(&program, GRANTED).expect("grant");
        as_nobody(command, Set::empty());
    })
}

#[test]
fn the_attach_plan_is_that_of_root() {
    let attached = |held: Option<Set>| {
        let output = run(&["check", "--json"], |command| {
            if let Some(held) = held {
                as_nobody(command, held);
            }
        });
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        let lines = checked(&output);
        let session = lines.into_iter().find(|line| line["type"] == "session");
        session.expect("a session")["attach_plan"].clone()
    };
    let rows = |plan: Value| plan.as_array().expect("rows").clone();
    let (least, root) = (rows(attached(Some(LEAST))), rows(attached(None)));
    assert_eq!(least.len(), root.len());
    let differ = |(one, other): &(&Value, &Value)| one != other;
    let other: Vec<_> = least.iter().zip(&root).filter(differ).collect();
    assert_eq!(!other.is_empty(), lacks("unprivileged_plan"), "{other:?}");
    assert!(
        other.iter().all(|(row, _)| row["kind"] == "kprobe"),
        "{other:?}"
    );
}

#[test]
fn check_says_what_each_capability_would_add() {
    let check = |held: Set| {
        let output = run(&["check", "--json"], |command| {
            as_nobody(command, held);
        });
        checked(&output).swap_remove(0)
    };
    let least = check(LEAST);
    assert_eq!(
        missing(&least),
        ["CAP_SYSLOG", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
    );
    assert_eq!(missing(&check(GRANTED)), ["CAP_SYS_ADMIN"]);
    assert_eq!(missing(&check(Set::SYS_ADMIN)), ["CAP_SYSLOG"]);
    assert_eq!(
        missing(&check(Set::empty()))[..2],
        ["CAP_BPF", "CAP_PERFMON"]
    );
    let text = run(&["check"], |command| {
        as_nobody(command, LEAST);
    });
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for words in ["CAP_NET_ADMIN, for netfilter bookends", "sudo setcap"] {
        assert!(text.contains(words), "no {words}: {text}");
    }
}

#[test]
fn bookends_take_cap_net_admin() {
    let check = |held: Set| {
        let output = run(&["check", "--json", "--probes", "auto,nf"], |command| {
            as_nobody(command, held);
        });
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        let lines = checked(&output);
        (rows(&lines, "nf", "attached"), rows(&lines, "nf", "failed"))
    };
    let (without, with) = (check(LEAST), check(LEAST | Set::NET_ADMIN));
    if lacks("nf") {
        for (attached, failed) in [without, with] {
            assert!(attached.is_empty(), "{attached:?}");
            assert!(failed.iter().all(|(_, why)| !why.is_empty()), "{failed:?}");
        }
        return;
    }
    assert!(without.0.is_empty() && !without.1.is_empty(), "{without:?}");
    for (_, why) in &without.1 {
        assert!(why.contains("CAP_NET_ADMIN is missing"), "{why}");
    }
    assert!(!with.0.is_empty() && with.1.is_empty(), "{with:?}");
}

#[test]
fn locked_memory_is_named_where_it_counts() {
    let output = run(&["trace", "--duration", "1s"], |command| {
        with_locked_memory(command, 64 << 10);
        as_nobody(command, LEAST);
    });
    let text = complaint(&output);
    if lacks("uncounted_maps") {
        assert_eq!(output.status.code(), Some(3), "{text}");
        for words in ["locked memory is limited to 64 KiB", "ulimit -l", "sudo"] {
            assert!(text.contains(words), "no {words}: {text}");
        }
    } else {
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
}

#[test]
fn without_btf_nothing_live_and_everything_recorded() {
    for command in [
        &["check"][..],
        &["trace", "--duration", "1s"],
        &["latency", "--duration", "1s"],
        &["drops", "--duration", "1s"],
    ] {
        let output = run(command, |command| {
            without_btf(command);
        });
        let text = complaint(&output);
        assert_eq!(output.status.code(), Some(4), "{command:?}: {text}");
        for words in ["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y"] {
            assert!(text.contains(words), "no {words}: {command:?}: {text}");
        }
        assert_eq!(text.lines().count(), 1, "{command:?}: {text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.pjy");
    let file = file.to_str().expect("UTF-8");
    let output = run(&["trace", "--duration", "1s", "-w", file], |_| {});
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    for words in [&["trace", "-r", file][..], &["stack", "interfaces"]] {
        let output = run(words, |command| {
            without_btf(command);
        });
        assert_eq!(
            output.status.code(),
            Some(0),
            "{words:?}: {}",
            complaint(&output)
        );
    }
}
