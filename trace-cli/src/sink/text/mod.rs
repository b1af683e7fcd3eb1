//! Results for people: a waterfall for each packet, tables for many.
//!
//! Results go to one writer, messages to another (stdout and stderr, when a command runs). Colours are asked for, never
//! found out here. Names that others chose (processes, interfaces) are cleaned of control characters.

mod bar;
mod drops;
mod end;
mod flow;
mod latency;
mod meanwhile;
mod paint;
mod place;
mod plan;
mod process;
pub mod stack;
mod table;
#[cfg(test)]
mod tests;
pub mod units;
mod waterfall;

use std::io::{self, Write};

use super::{End, Sink, Warning};
use crate::aggregate::drops::DropGroup;
use crate::aggregate::latency::{Excluded, LatencyRow};
use crate::config::Output;
use crate::dictionary::Dictionary;
use crate::journey::model::{Journey, StageState};
use crate::session::{NotProbed, Session};
use crate::stack::meanwhile::Meanwhile;

/// How text looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Colours.
    pub color: bool,
    /// Columns to fill, and to stay within where that is possible.
    pub width: usize,
    /// The kernel stack of drops.
    pub stacks: bool,
}

impl From<Output> for Look {
    fn from(output: Output) -> Self {
        Self {
            color: output.color,
            width: output.width,
            stacks: output.stacks,
        }
    }
}

/// Writes text.
#[derive(Debug)]
pub struct Text<W, M> {
    out: W,
    messages: M,
    look: Look,
    not_probed: Vec<NotProbed>,
    /// Something was shown with `≤`, which wants explaining.
    gaps: bool,
}

impl<W: Write, M: Write> Text<W, M> {
    /// Writes results to `out` and messages to `messages`.
    pub const fn new(out: W, messages: M, look: Look) -> Self {
        Self {
            out,
            messages,
            look,
            not_probed: Vec::new(),
            gaps: false,
        }
    }
}

impl<W: Write, M: Write> Sink for Text<W, M> {
    fn session(&mut self, session: &Session) -> io::Result<()> {
        self.not_probed.clone_from(&session.not_probed);
        plan::announce(&mut self.messages, session)
    }

    fn plan(&mut self, session: &Session) -> io::Result<()> {
        plan::write(&mut self.out, session, self.look)?;
        plan::not_probed(&mut self.out, &session.not_probed, self.look)
    }

    fn journey(&mut self, journey: &Journey, names: &Dictionary) -> io::Result<()> {
        self.gaps |= journey
            .stages
            .iter()
            .any(|stage| stage.state == StageState::Gap);
        waterfall::write(&mut self.out, journey, names, self.look)
    }

    fn latency(&mut self, rows: &[LatencyRow], excluded: Excluded) -> io::Result<()> {
        self.gaps |= rows.iter().any(|row| row.state == StageState::Gap);
        latency::write(&mut self.out, rows, excluded, self.look)
    }

    fn drops(&mut self, groups: &[DropGroup], names: &Dictionary) -> io::Result<()> {
        drops::write(&mut self.out, groups, names, self.look)
    }

    fn meanwhile(&mut self, meanwhile: &Meanwhile) -> io::Result<()> {
        meanwhile::write(&mut self.out, meanwhile, self.look)
    }

    fn warning(&mut self, warning: &Warning) -> io::Result<()> {
        writeln!(self.messages, "warning: {}", paint::clean(&warning.message))
    }

    fn end(&mut self, end: &End) -> io::Result<()> {
        end::write(&mut self.out, end, &self.not_probed, self.gaps, self.look)?;
        self.out.flush()?;
        end::losses(&mut self.messages, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.messages.flush()
    }
}
