//! `stack`: the network stack's counters and settings, once or again and again.

use std::{
    io::{self, BufWriter, Write as _},
    thread,
    time::Instant,
};

use super::Failure;
use crate::{
    config::{Output, Stack},
    sink::{json::Json, text::stack},
    stack::{Report, Snapshot},
};

/// Runs the command; gives the exit code.
pub fn run(wanted: &Stack, output: Output) -> Result<u8, Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    let mut earlier: Option<Snapshot> = None;
    let mut left = wanted.count;
    let mut next = Instant::now();
    loop {
        let report = Report::new(Snapshot::read(&wanted.scope)?, earlier.as_ref());
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
