//! The attach plan, and what it means: stages that stay unseen.

use std::io::{self, Write};

use super::Look;
use super::paint::{BAD, BOLD, DIM, DOUBTFUL, GOOD, Paint, clean};
use super::table::{Align, Cell, Table};
use super::units;
use crate::session::{NotProbed, PlanState, Session};

const COLUMNS: &[(&str, Align)] = &[
    ("HOOK", Align::Left),
    ("PROBE", Align::Left),
    ("AT", Align::Left),
    ("NETNS", Align::Left),
    ("STATE", Align::Left),
    ("WHY", Align::Left),
];

/// One line for the beginning of a trace.
pub(super) fn announce(out: &mut dyn Write, session: &Session) -> io::Result<()> {
    let attached = units::counted(session.attached() as u64, "probe");
    let unseen = match session.not_probed.len() {
        _ if session.command == "drops" => "drops only".to_owned(),
        0 => "every stage is visible".to_owned(),
        count => format!("{} not visible here", units::counted(count as u64, "stage")),
    };
    writeln!(
        out,
        "pktjourney {} on {}, Linux {} {}: {attached}, {unseen}",
        clean(&session.version),
        clean(&session.host),
        clean(&session.kernel),
        clean(&session.arch)
    )
}

/// The whole plan.
pub(super) fn write(out: &mut dyn Write, session: &Session, look: Look) -> io::Result<()> {
    let paint = Paint::new(look.color);
    let mut table = Table::new(COLUMNS);
    for row in &session.attach_plan {
        let style = match row.state {
            PlanState::Attached => GOOD,
            PlanState::Failed => BAD,
            PlanState::Skipped => DIM,
        };
        table.row(
            vec![
                Cell::new(clean(&row.hook)),
                Cell::new(clean(&row.kind)),
                Cell::new(clean(&row.target)),
                Cell::new(clean(row.netns.as_deref().unwrap_or(""))),
                Cell::new(row.state.as_str()).styled(style),
                Cell::new(clean(row.reason.as_deref().unwrap_or(""))).styled(DIM),
            ],
            Vec::new(),
        );
    }
    table.write(out, paint, "")?;
    writeln!(out)
}

/// The stages that nobody sees here, those with the same cause together.
pub(super) fn not_probed(out: &mut dyn Write, stages: &[NotProbed], look: Look) -> io::Result<()> {
    if stages.is_empty() {
        return Ok(());
    }
    let paint = Paint::new(look.color);
    writeln!(
        out,
        "{}",
        paint.with(BOLD, "stages not visible on this kernel:")
    )?;
    let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
    for NotProbed { stage, why } in stages {
        match causes.iter_mut().find(|(cause, _)| cause == why) {
            Some((_, names)) => names.push(stage),
            None => causes.push((why, vec![stage])),
        }
    }
    for (why, names) in causes {
        writeln!(
            out,
            "  {}: {}",
            paint.with(DOUBTFUL, clean(&names.join(", "))),
            clean(why)
        )?;
    }
    Ok(())
}
