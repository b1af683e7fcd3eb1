//! What it costs to start, to stop and to be there, for docs/performance.md:
//!
//! ```text
//! cargo build --release -p trace-cli --bins --examples
//! target/release/examples/start_stop_idle [SECONDS [ROUNDS]]
//! ```
//!
//! Runs the `pktjourney` that lies beside it and prints one JSON line: for each round the time from its start to its first
//! line (all is attached then) and from Ctrl-C to its end; then, over so many seconds (10) without traffic of ours, its processor
//! time, how often it was woken, and what its programs ran (for whatever else the host does). Needs root.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

mod beside;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Read as _},
    process::{Child, ChildStdout},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use rustix::process::{Pid, Signal, kill_process};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let rounds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (child, stdout, took) = beside::start("trace --json")?;
        starts.push(took.as_millis());
        thread::sleep(Duration::from_millis(500));
        stops.push(stop(child, stdout)?.as_millis());
    }
    let (child, stdout, _) = beside::start("trace --json")?;
    // What it does once is over: names of symbols are read in the background.
    thread::sleep(Duration::from_secs(3));
    let _statistics = enable_stats(Stats::RunTime).context("BPF run statistics")?;
    let before = Use::of(child.id())?;
    thread::sleep(Duration::from_secs(seconds));
    let after = Use::of(child.id())?;
    stop(child, stdout)?;
    println!(
        "{{\"start_ms\":{starts:?},\"stop_ms\":{stops:?},\"idle_seconds\":{seconds},\"cpu_ms\":{:.3},\
         \"wakeups\":{},\"programs\":{},\"program_runs\":{},\"program_ms\":{:.3}}}",
        (after.cpu_ns - before.cpu_ns) as f64 / 1e6,
        after.wakeups - before.wakeups,
        after.programs,
        after.runs - before.runs,
        (after.run_ns - before.run_ns) as f64 / 1e6,
    );
    Ok(())
}

/// Ctrl-C; what it then prints is read.
fn stop(mut child: Child, mut stdout: BufReader<ChildStdout>) -> Result<Duration> {
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT)?;
    stdout.read_to_end(&mut Vec::new())?;
    child.wait()?;
    Ok(asked.elapsed())
}

/// What a process and its programs have used.
struct Use {
    cpu_ns: u64,
    wakeups: u64,
    programs: usize,
    runs: u64,
    run_ns: u64,
}

impl Use {
    fn of(pid: u32) -> Result<Self> {
        let (mut cpu_ns, mut wakeups) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let first = |text: &str| text.split_whitespace().next().map(str::parse::<u64>);
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            cpu_ns += first(&schedstat).context("an empty schedstat")??;
            let status = fs::read_to_string(task.join("status"))?;
            let voluntary = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            wakeups += first(voluntary.context("no count of switches")?).context("no count")??;
        }
        // Of programs and of links alike.
        let ids: BTreeSet<u32> = fs::read_dir(format!("/proc/{pid}/fdinfo"))?
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter_map(|text| {
                let line = text.lines().find(|line| line.starts_with("prog_id:"))?;
                line.split_whitespace().nth(1)?.parse().ok()
            })
            .collect();
        let (mut runs, mut run_ns) = (0, 0);
        for program in loaded_programs() {
            // One that others unload meanwhile is none of ours.
            let Ok(program) = program else { continue };
            if ids.contains(&program.id()) {
                runs += program.run_count();
                run_ns += u64::try_from(program.run_time().as_nanos())?;
            }
        }
        Ok(Self {
            cpu_ns,
            wakeups,
            programs: ids.len(),
            runs,
            run_ns,
        })
    }
}
