//! However it ends, it says what it knows, and leaves nothing behind.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pktjourney::lab::{Addresses, LabError, Pair, run, traffic::udp::Flow};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    schema,
    trace::Trace,
    tracer::{Tracer, binary, patience},
};

/// Ids of the eBPF programs that a process holds.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            let line = text.lines().find(|line| line.starts_with("prog_id:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .collect()
}

/// Waits until none of these programs is loaded any more: no link of theirs can be left then, either.
fn assert_gone(programs: &BTreeSet<u32>) {
    assert!(!programs.is_empty(), "no programs were loaded");
    let deadline = Instant::now() + patience(2);
    loop {
        let loaded: BTreeSet<u32> = aya::programs::loaded_programs()
            .filter_map(|program| program.ok().map(|program| program.id()))
            .collect();
        let left: Vec<&u32> = programs.intersection(&loaded).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still loaded: {left:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Two hosts and a flow between them.
fn lab() -> Result<(Pair, Flow), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    Ok((pair, flow))
}

#[test]
fn sigint_and_sigterm_print_the_ledger() -> Result<(), LabError> {
    for signal in [Signal::INT, Signal::TERM] {
        let (pair, flow) = lab()?;
        let mut tracer = Tracer::start(&[&pair.a, &pair.b], &[]);
        let programs = programs_of(tracer.pid());
        flow.deliver(100, 100)?;
        tracer.signal(signal);
        let asked = Instant::now();
        let (status, output, complaints) = tracer.wait(patience(10));
        assert!(
            asked.elapsed() < patience(3),
            "it took {:?}",
            asked.elapsed()
        );
        assert_eq!(status.code(), Some(0), "{complaints}");
        Trace::parse(&output).check();
        assert_gone(&programs);
    }
    Ok(())
}

#[test]
fn a_duration_ends_it() -> Result<(), LabError> {
    let (pair, flow) = lab()?;
    let begun = Instant::now();
    let mut tracer = Tracer::start(&[&pair.a, &pair.b], &["--duration", "2s"]);
    let programs = programs_of(tracer.pid());
    flow.deliver(100, 100)?;
    let (status, output, complaints) = tracer.wait(patience(10));
    assert_eq!(status.code(), Some(0), "{complaints}");
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let trace = Trace::parse(&output);
    trace.check();
    assert!(trace.journeys.len() >= 100, "{}", trace.summary());
    assert_gone(&programs);
    Ok(())
}

#[test]
fn a_count_ends_it() -> Result<(), LabError> {
    let (pair, flow) = lab()?;
    let (_, to) = pair.v4();
    let filter = format!("udp and dst host {to}");
    let mut tracer = Tracer::start(&[&pair.a, &pair.b], &["-c", "7", &filter]);
    let programs = programs_of(tracer.pid());
    flow.deliver(100, 100)?;
    let (status, output, complaints) = tracer.wait(patience(10));
    assert_eq!(status.code(), Some(0), "{complaints}");
    let trace = Trace::parse(&output);
    assert_eq!(trace.journeys.len(), 7, "{}", trace.summary());
    assert_gone(&programs);
    Ok(())
}

#[test]
fn a_closed_pipe_ends_it_quietly() -> Result<(), LabError> {
    let (_pair, flow) = lab()?;
    let mut child = Command::new(binary())
        .args(["trace", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start pktjourney");
    let mut first = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout)
        .read_line(&mut first)
        .expect("a line");
    assert!(first.contains("session"), "{first}");
    schema::check_line(&first);
    let programs = programs_of(child.id());
    // The reader is gone: the next line meets a closed pipe.
    let deadline = Instant::now() + patience(60);
    while child.try_wait().expect("wait").is_none() && Instant::now() < deadline {
        flow.deliver(10, 100)?;
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let output = child.wait_with_output().expect("wait");
    let complaints = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert_eq!(output.status.code(), Some(0), "{complaints}");
    assert!(
        !complaints.contains("pipe") && !complaints.contains("panic"),
        "{complaints}"
    );
    assert_gone(&programs);
    Ok(())
}

/// A tiny file system.
struct Tiny(PathBuf);

impl Tiny {
    fn new() -> Result<Self, LabError> {
        let path = std::env::temp_dir().join(format!("pj-{}-tiny", std::process::id()));
        fs::create_dir_all(&path).map_err(LabError::io("make a directory"))?;
        let tiny = Self(path);
        let path = tiny.0.to_string_lossy().into_owned();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=64k", "tmpfs", &path],
            "",
        )?;
        Ok(tiny)
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = run("umount", &[&self.0.to_string_lossy()], "");
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() -> Result<(), LabError> {
    let (pair, flow) = lab()?;
    let tiny = Tiny::new()?;
    let file = tiny.0.join("full.pjy").to_string_lossy().into_owned();
    let mut tracer = Tracer::start(&[&pair.a, &pair.b], &["-w", &file]);
    let programs = programs_of(tracer.pid());
    // It ends by itself once the disk is full: a signal meanwhile would be the second Ctrl-C, which leaves at once.
    let deadline = Instant::now() + patience(20);
    while tracer.is_running() && Instant::now() < deadline {
        flow.deliver(500, 100)?;
        // No faster than it is used: at its end the tool uses up what lies in the rings.
        thread::sleep(Duration::from_millis(100));
    }
    let (status, output, complaints) = tracer.wait(patience(1));
    assert_eq!(status.code(), Some(1), "{complaints}");
    assert!(
        complaints.contains("full.pjy") && complaints.contains("No space left"),
        "{complaints}"
    );
    assert!(
        output
            .lines()
            .last()
            .is_some_and(|line| line.contains("\"ledger\"")),
        "no ledger"
    );
    assert_gone(&programs);
    Ok(())
}

/// A child that would wait for a reader for ever, were it not killed when a test fails.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() -> Result<(), LabError> {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (_pair, flow) = lab()?;
        let child = Command::new(binary())
            .args(["trace", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut unread = Unread(child.expect("start pktjourney"));
        let child = &mut unread.0;
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut first).expect("a line");
        let programs = programs_of(child.id());
        // More than a pipe holds, and nobody reads on: it cannot come to a good end.
        flow.deliver(1_000, 100)?;
        thread::sleep(patience(1));
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::INT).expect("signal pktjourney");
        thread::sleep(patience(1));
        assert!(child.try_wait().expect("wait").is_none(), "it has ended");
        kill_process(pid, second).expect("signal pktjourney");
        let asked = Instant::now();
        let status = child.wait().expect("wait");
        assert_eq!(status.code(), Some(code), "{status}");
        assert!(
            asked.elapsed() < patience(1),
            "it took {:?}",
            asked.elapsed()
        );
        assert_gone(&programs);
    }
    Ok(())
}

#[test]
fn kill_leaves_no_program_behind() -> Result<(), LabError> {
    let (pair, flow) = lab()?;
    let mut tracer = Tracer::start(&[&pair.a, &pair.b], &[]);
    let programs = programs_of(tracer.pid());
    flow.deliver(100, 100)?;
    tracer.signal(Signal::KILL);
    let (status, _, _) = tracer.wait(patience(10));
    assert_eq!(status.code(), None);
    assert_gone(&programs);
    Ok(())
}
