//! What `pktjourney check` says in each circumstance that it may be short of something, for docs/kernels.md (`cargo xtask kernels`, which
//! runs it in guests): one JSON line for each. Needs root, and locks the machine down at the end.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::{
    collections::BTreeSet, fs, io::ErrorKind, os::unix::fs::PermissionsExt as _, path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use pktjourney::lab::{
    LabError,
    circumstances::{FTRACE, KPROBES, Off, as_nobody, with_locked_memory, without_btf},
};
use rustix::{
    mount::{MountFlags, mount},
    thread::CapabilitySet as Set,
};
use serde_json::{Value, json};

/// Where nobody may read it.
const PROGRAM: &str = "/tmp/circumstances/pktjourney";

fn main() -> Result<()> {
    let given = std::env::args()
        .nth(1)
        .context("give the path of pktjourney")?;
    let folder = Path::new(PROGRAM)
        .parent()
        .context("a file lies in a folder")?;
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    fs::copy(given, PROGRAM)?;

    let auto = "auto,nf";
    say("root", auto, |_| {})?;
    let least = Set::BPF | Set::PERFMON;
    for (name, held) in [
        (
            "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYSLOG",
            least | Set::NET_ADMIN | Set::SYSLOG,
        ),
        (
            "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
            least | Set::NET_ADMIN,
        ),
        ("CAP_BPF, CAP_PERFMON", least),
        ("CAP_SYS_ADMIN alone", Set::SYS_ADMIN),
        ("CAP_BPF alone", Set::BPF),
        ("CAP_PERFMON alone", Set::PERFMON),
        ("CAP_NET_ADMIN alone", Set::NET_ADMIN),
        ("none", Set::empty()),
    ] {
        say(name, auto, |command| {
            as_nobody(command, held);
        })?;
    }
    say(
        "CAP_BPF, CAP_PERFMON, 64 KiB of locked memory",
        auto,
        |command| {
            with_locked_memory(command, 64 << 10);
            as_nobody(command, least);
        },
    )?;
    say("no BTF", auto, |command| {
        without_btf(command);
    })?;
    without(KPROBES, "kprobes switched off, `--probes kprobe`", "kprobe")?;
    without(FTRACE, "function tracing switched off", auto)?;
    mount(
        c"none",
        c"/sys/kernel/security",
        c"securityfs",
        MountFlags::empty(),
        None,
    )?;
    for state in ["integrity", "confidentiality"] {
        fs::write("/sys/kernel/security/lockdown", state)?;
        say(&format!("lockdown for {state}"), auto, |_| {})?;
    }
    Ok(())
}

/// … with one of the kernel's switches off, if it lets itself be switched off.
fn without(switch: &str, name: &str, probes: &str) -> Result<()> {
    match Off::switch(switch) {
        Ok(_off) => say(name, probes, |_| {}),
        Err(LabError::Io { source, .. }) if source.kind() == ErrorKind::Unsupported => {
            println!("{}", json!({"name": name, "cannot": true}));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs `check` and says what came of it.
fn say(name: &str, probes: &str, prepare: impl FnOnce(&mut Command)) -> Result<()> {
    let mut command = Command::new(PROGRAM);
    command.args(["check", "--json", "--probes", probes]);
    prepare(&mut command);
    let output = command.output().context("start pktjourney")?;
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind);
    let rows = of("session").and_then(|session| session["attach_plan"].as_array());
    let in_place = |is_bookend: bool| -> BTreeSet<&str> {
        rows.into_iter()
            .flatten()
            .filter(|row| row["state"] == "attached" && (row["kind"] == "nf") == is_bookend)
            .filter_map(|row| row["hook"].as_str())
            .collect()
    };
    let named = of("check").is_some_and(|check| check["facts"]["symbols"] == "yes");
    println!(
        "{}",
        json!({
            "name": name,
            "code": output.status.code(),
            "hooks": in_place(false).len(),
            "bookends": !in_place(true).is_empty(),
            "named": named,
        })
    );
    Ok(())
}
