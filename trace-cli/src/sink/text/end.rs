//! The balance, what got lost, and what nobody could see.

use std::io::{self, Write};

use super::paint::{BAD, BOLD, DIM, GOOD, Paint};
use super::{Look, plan, units};
use crate::journey::model::Ledger;
use crate::session::NotProbed;
use crate::sink::End;

/// Writes the ledger and the stages not probed.
pub(super) fn write(
    out: &mut dyn Write,
    end: &End,
    not_probed: &[NotProbed],
    gaps: bool,
    look: Look,
) -> io::Result<()> {
    let paint = Paint::new(look.color);
    if gaps {
        let meaning = "≤: the span holds stages that left no stamp of their own";
        writeln!(out, "{}", paint.with(DIM, meaning))?;
    }
    plan::not_probed(out, not_probed, look)?;
    if let Some((sample, left_out)) = end.sample {
        let changes = end.budget.map_or(0, |budget| budget.changes);
        let last = match changes {
            0 => String::new(),
            changes => format!(
                " at last, after {}",
                units::counted(changes.into(), "change")
            ),
        };
        writeln!(
            out,
            "one flow in {} was followed{last}; {} of others left out",
            sample.one_in,
            units::counted(left_out, "segment")
        )?;
    }
    let ns = u64::try_from(end.duration.as_nanos()).unwrap_or(u64::MAX);
    if let Some(account) = end.budget {
        writeln!(
            out,
            "tracing took {} of the CPUs' time, of a budget of {}: {} in the kernel, {} in pktjourney",
            account.took,
            account.budget,
            units::duration(account.spent.programs_ns),
            units::duration(account.spent.own_ns),
        )?;
    }
    writeln!(
        out,
        "{} in {}",
        ledger(&end.ledger, paint),
        units::duration(ns)
    )
}

/// `seen 1000 = delivered 990 + dropped 10 + lost 0`: what is not nothing, and always what was lost.
fn ledger(ledger: &Ledger, paint: Paint) -> String {
    let parts = [
        ("delivered", ledger.delivered),
        ("sent", ledger.sent),
        ("forwarded", ledger.forwarded),
        ("dropped", ledger.dropped),
        ("consumed", ledger.consumed),
        ("unfinished", ledger.unfinished),
    ];
    let mut sum: Vec<String> = parts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let lost = format!("lost {}", ledger.lost);
    let style = if ledger.lost == 0 { GOOD } else { BAD };
    sum.push(paint.with(style, lost).to_string());
    let equals = if ledger.balances() { "=" } else { "≠" };
    format!(
        "{} {equals} {}",
        paint.with(BOLD, format_args!("seen {}", ledger.seen)),
        sum.join(" + ")
    )
}

/// A sentence for each cause of loss, with what helps.
pub(super) fn losses(out: &mut dyn Write, end: &End) -> io::Result<()> {
    let losses = &end.losses;
    let causes = [
        (
            losses.segments,
            "segment",
            "found no room on the way up (a larger --buffer-size helps)",
        ),
        (
            losses.births,
            "of these",
            "the first of their packet: nothing else is known of those packets",
        ),
        (
            losses.records,
            "other record",
            "found no room on the way up (a larger --buffer-size helps)",
        ),
        (losses.late, "segment", "came too late for their journey"),
        (losses.damaged, "record", "could not be decoded"),
        (
            losses.evicted,
            "journey",
            "ended early, since too many were open (a larger --max-journeys helps)",
        ),
        (
            losses.missed,
            "stamp",
            "could not be taken: a program of ours would have interrupted itself (-v names it)",
        ),
    ];
    for (count, what, why) in causes {
        if count > 0 && what == "of these" {
            writeln!(out, "warning: {count} {what} were {why}")?;
        } else if count > 0 {
            writeln!(out, "warning: {} {why}", units::counted(count, what))?;
        }
    }
    if !end.ledger.balances() {
        writeln!(
            out,
            "warning: the ledger does not balance: please report this with a recording (-w)"
        )?;
    }
    Ok(())
}
