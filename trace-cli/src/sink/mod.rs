//! Results to bytes: [`json`] for programs, [`text`] for people. A sink takes any writer, and gives back what the writer
//! says; only the commands know what a broken pipe means.

use std::io::{self, Write};
use std::time::Duration;

use crate::aggregate::drops::DropGroup;
use crate::aggregate::latency::{Excluded, LatencyRow};
use crate::budget::Account;
use crate::config::Output;
use crate::dictionary::Dictionary;
use crate::journey::model::{Journey, Ledger, Losses};
use crate::session::{Sample, Session};
use crate::stack::meanwhile::Meanwhile;

pub mod json;
pub mod names;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod sample_stack;
pub mod text;

/// Where a command's results go. A command calls [`session`](Self::session) first, then what it has, then
/// [`end`](Self::end).
pub trait Sink {
    /// Where and how the trace is made.
    fn session(&mut self, session: &Session) -> io::Result<()>;

    /// The attach plan and the stages that stay unseen, at length: what `check` is for.
    fn plan(&mut self, session: &Session) -> io::Result<()>;

    /// One packet.
    fn journey(&mut self, journey: &Journey, names: &Dictionary) -> io::Result<()>;

    /// The latency table.
    fn latency(&mut self, rows: &[LatencyRow], excluded: Excluded) -> io::Result<()>;

    /// The drop table.
    fn drops(&mut self, groups: &[DropGroup], names: &Dictionary) -> io::Result<()>;

    /// What the kernel counted by itself during the trace.
    fn meanwhile(&mut self, meanwhile: &Meanwhile) -> io::Result<()>;

    /// Something the user should know, that does not end the trace.
    fn warning(&mut self, warning: &Warning) -> io::Result<()>;

    /// The balance.
    fn end(&mut self, end: &End) -> io::Result<()>;

    /// Hands everything to the system.
    fn flush(&mut self) -> io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn session(&mut self, session: &Session) -> io::Result<()> {
        (**self).session(session)
    }
    fn plan(&mut self, session: &Session) -> io::Result<()> {
        (**self).plan(session)
    }
    fn journey(&mut self, journey: &Journey, names: &Dictionary) -> io::Result<()> {
        (**self).journey(journey, names)
    }
    fn latency(&mut self, rows: &[LatencyRow], excluded: Excluded) -> io::Result<()> {
        (**self).latency(rows, excluded)
    }
    fn drops(&mut self, groups: &[DropGroup], names: &Dictionary) -> io::Result<()> {
        (**self).drops(groups, names)
    }
    fn meanwhile(&mut self, meanwhile: &Meanwhile) -> io::Result<()> {
        (**self).meanwhile(meanwhile)
    }
    fn warning(&mut self, warning: &Warning) -> io::Result<()> {
        (**self).warning(warning)
    }
    fn end(&mut self, end: &End) -> io::Result<()> {
        (**self).end(end)
    }
    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// The sink that the user asked for; results go to `out`, messages to `messages`.
pub fn open<'a>(
    output: Output,
    out: impl Write + 'a,
    messages: impl Write + 'a,
) -> Box<dyn Sink + 'a> {
    if output.json {
        Box::new(json::Json::new(out).stacks(output.stacks))
    } else {
        Box::new(text::Text::new(out, messages, output.into()))
    }
}

/// Something the user should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// A stable word for programs, as `probes_failed`, `damaged_recording`.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// How the trace came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct End {
    /// What became of all packets seen.
    pub ledger: Ledger,
    /// What got lost on the way up.
    pub losses: Losses,
    /// How long it ran.
    pub duration: Duration,
    /// Journeys that the filter let through.
    pub matched: u64,
    /// Which part of the flows was followed, and how many segments of others were seen and left out.
    pub sample: Option<(Sample, u64)>,
    /// What tracing cost, where a budget was set.
    pub budget: Option<Account>,
}
