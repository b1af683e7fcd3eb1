//! `stack`: the network stack's counters and settings, once or again and again.

use std::{
    io::{self, BufWriter, Write as _},
    thread,
    time::{Duration, Instant},
};

use super::Failure;
use crate::{
    config::{Output, Stack},
    sink::{json::Json, text::stack},
    stack::{Report, Section, SectionError, Snapshot, polls::Counter},
};

/// How long polls are counted for one look.
const SAMPLE: Duration = Duration::from_millis(250);

/// Runs the command; gives the exit code.
pub fn run(wanted: &Stack, output: Output) -> Result<u8, Failure> {
    let mut polls = count_polls(wanted);
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    let mut earlier: Option<Snapshot> = None;
    let mut left = wanted.count;
    let mut next = Instant::now();
    loop {
        let counted = polls
            .as_mut()
            .map(|polls| polls.as_mut().map(Counter::take));
        let mut now = Snapshot::read(&wanted.scope)?;
        match counted {
            // Under --watch they are counted from one look to the next.
            Some(Ok(polls)) if wanted.watch.is_none() || earlier.is_some() => {
                now.machine.polls = Some(polls);
            }
            Some(Err(error)) => now.machine.missing.push(error.clone()),
            _ => {}
        }
        let report = Report::new(now, earlier.as_ref());
        let written = if output.json {
            Json::new(&mut out).stack(&report)
        } else {
            stack::write(&mut out, &report, &wanted.sections, output.into())
        };
        written
            .and_then(|()| out.flush())
            .map_err(Failure::Output)?;
        left = left.map(|left| left.saturating_sub(1));
        let Some(every) = wanted.watch.filter(|_| left != Some(0)) else {
            return Ok(0);
        };
        earlier = Some(report.now);
        // By the clock, so that reading does not stretch the interval; what took longer than that is not caught up with.
        next = (next + every).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Begins to count polls where that was asked for: by the section's name, or by looking again and again. For one look, it takes
/// the time that it counts.
fn count_polls(wanted: &Stack) -> Option<Result<Counter, SectionError>> {
    let named = wanted.sections.contains(&Section::Softirq);
    if !named && (wanted.watch.is_none() || !wanted.sections.is_empty()) {
        return None;
    }
    let counter = Counter::start();
    if wanted.watch.is_none() && counter.is_ok() {
        thread::sleep(SAMPLE);
    }
    Some(counter)
}
