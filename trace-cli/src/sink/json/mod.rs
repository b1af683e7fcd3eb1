//! One JSON object a line, typed by its `type`: `docs/output.md` describes them, `docs/schema/pktjourney.schema.json`
//! defines them.
//!
//! The records are types of their own, apart from the model, so that a change of one is no accidental change of the
//! other. They borrow: printing a packet allocates next to nothing.

mod flow;
mod journey;
mod meanwhile;
mod place;
mod session;
mod stack;
mod summary;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use serde::Serialize;

use super::{End, Sink, Warning};
use crate::aggregate::drops::DropGroup;
use crate::aggregate::latency::{Excluded, LatencyRow};
use crate::dictionary::Dictionary;
use crate::journey::model::Journey;
use crate::session::Session;
use crate::stack::{Report, advice::Advice, meanwhile::Meanwhile};

/// A line.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "the largest is the usual one, and lives for one line"
)]
enum Record<'a> {
    Session(session::SessionRecord<'a>),
    Journey(journey::JourneyRecord<'a>),
    Latency(summary::LatencyRecord),
    Drop(summary::DropRecord<'a>),
    Meanwhile(meanwhile::MeanwhileRecord<'a>),
    Warning(summary::WarningRecord<'a>),
    End(summary::EndRecord),
    Machine(stack::MachineRecord<'a>),
    Stack(stack::StackRecord<'a>),
    Advice(&'a Advice),
}

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    /// A line is written in one piece, so that readers of a pipe never see half of one.
    line: Vec<u8>,
    stacks: bool,
    excluded: Option<Excluded>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`, which should be buffered.
    pub const fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
            stacks: true,
            excluded: None,
        }
    }

    /// Whether drops come with their kernel stack.
    #[must_use]
    pub fn stacks(self, stacks: bool) -> Self {
        Self { stacks, ..self }
    }

    /// The stack's counters and settings: `machine`, a `stack` for each namespace, and each `advice`.
    pub fn stack(&mut self, report: &Report) -> io::Result<()> {
        stack::records(report).try_for_each(|record| self.write(&record))
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}

impl<W: Write> Sink for Json<W> {
    fn session(&mut self, session: &Session) -> io::Result<()> {
        self.write(&Record::Session(session::record(session)))
    }

    fn plan(&mut self, _: &Session) -> io::Result<()> {
        // It is part of the session record.
        Ok(())
    }

    fn journey(&mut self, journey: &Journey, names: &Dictionary) -> io::Result<()> {
        let record = journey::record(journey, names, self.stacks);
        self.write(&Record::Journey(record))
    }

    fn latency(&mut self, rows: &[LatencyRow], excluded: Excluded) -> io::Result<()> {
        self.excluded = Some(excluded);
        rows.iter()
            .try_for_each(|row| self.write(&Record::Latency(summary::latency(row))))
    }

    fn drops(&mut self, groups: &[DropGroup], names: &Dictionary) -> io::Result<()> {
        let stacks = self.stacks;
        groups
            .iter()
            .try_for_each(|group| self.write(&Record::Drop(summary::drop(group, names, stacks))))
    }

    fn meanwhile(&mut self, meanwhile: &Meanwhile) -> io::Result<()> {
        self.write(&Record::Meanwhile(meanwhile::record(meanwhile)))
    }

    fn warning(&mut self, warning: &Warning) -> io::Result<()> {
        self.write(&Record::Warning(summary::warning(warning)))
    }

    fn end(&mut self, end: &End) -> io::Result<()> {
        self.write(&Record::End(summary::end(end, self.excluded)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
