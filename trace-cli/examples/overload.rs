//! The ledger at the highest rate that this machine sends, for docs/performance.md:
//!
//! ```text
//! cargo build --release -p trace-cli --bins --examples
//! target/release/examples/overload [SECONDS [BYTES]]
//! ```
//!
//! Runs the `pktjourney` that lies beside it, several times, while datagrams flood from one network namespace of its own to another:
//! for two seconds unless told otherwise, of 64 bytes. Prints one JSON line for each: what was sent, read and counted by the
//! device; the ledger, and whether it balances; the most memory that the tool had. In the last ones the tool is stopped
//! (SIGSTOP) for as long as the flood lasts. Needs root.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

mod beside;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pktjourney::lab::{Addresses, Pair, counters, traffic::udp::Flow};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// What the tool is told, and whether it sleeps.
const CASES: [(&str, bool); 4] = [
    ("latency --json", false),
    ("trace --json", false),
    ("trace --json", true),
    ("trace --json --buffer-size 64K", true),
];
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    for (words, asleep) in CASES {
        println!(
            "{}",
            overload(words, asleep, Duration::from_secs(seconds.min(20)), bytes)?
        );
    }
    Ok(())
}

fn overload(words: &str, asleep: bool, duration: Duration, bytes: usize) -> Result<Value> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let (child, stdout, _) = beside::start(words)?;
    let signal = |signal| kill_process(Pid::from_child(&child), signal);
    let (_, before) = counters::device(&pair.a, "a0")?;
    if asleep {
        signal(Signal::STOP)?;
    }
    let begun = Instant::now();
    let flooded = flow.flood(duration, bytes);
    let rate = |sent: u64| sent as f64 / begun.elapsed().as_secs_f64();
    let flooded = flooded.map(|(sent, read)| (sent, read, rate(sent)));
    if asleep {
        signal(Signal::CONT)?;
    }
    let (sent, read, rate) = flooded?;
    let (_, after) = counters::device(&pair.a, "a0")?;
    signal(Signal::INT)?;
    let (end, peak_kib) = end(child, stdout)?;
    let ledger = &end["ledger"];
    let entry = |name: &str| ledger[name].as_u64().unwrap_or_default();
    // everything else in it is what became of them
    let ends = ledger.as_object().into_iter().flatten();
    let ends = ends.filter(|(name, _)| *name != "seen");
    let sum: u64 = ends.filter_map(|(_, count)| count.as_u64()).sum();
    let device = after - before;
    Ok(json!({
        "command": words,
        "asleep": asleep,
        "sent": sent,
        "per_second": rate.round(),
        "read": read,
        "device": device,
        "seen": entry("seen"),
        "delivered": entry("delivered"),
        "dropped": entry("dropped"),
        "lost": entry("lost"),
        "balances": entry("seen") == sum && entry("seen") >= device,
        "peak_kib": peak_kib,
    }))
}

/// What the tool says last, and the most memory that it had until shortly before.
fn end(mut child: Child, stdout: BufReader<ChildStdout>) -> Result<(Value, u64)> {
    let reader = thread::spawn(move || stdout.lines().map_while(Result::ok).last());
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while !reader.is_finished() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(now.unwrap_or(0));
        thread::sleep(Duration::from_millis(5));
    }
    let done = child.wait()?;
    ensure!(done.success(), "pktjourney: {done}");
    let last = reader.join().ok().flatten().context("it said nothing")?;
    Ok((serde_json::from_str(&last)?, peak))
}
