//! Where the time goes: a table for each direction.

use std::io::{self, Write};

use super::bar::{self, Fill};
use super::paint::{BAR, BOLD, DIM, DOUBTFUL, PLAIN, Paint};
use super::table::{Align, Cell, Table};
use super::{Look, units};
use crate::aggregate::latency::{Excluded, LatencyRow};
use crate::journey::model::StageState;
use crate::sink::names as words;

const COLUMNS: &[(&str, Align)] = &[
    ("STAGE", Align::Left),
    ("COUNT", Align::Right),
    ("P50", Align::Right),
    ("P90", Align::Right),
    ("P99", Align::Right),
    ("P99.9", Align::Right),
    ("MAX", Align::Right),
    ("SHARE", Align::Right),
    ("", Align::Left),
];
const INDENT: &str = "  ";
/// Parts of a million: fine enough for any bar.
const WHOLE: u64 = 1_000_000;
const SHORTEST_BAR: usize = 6;
const LONGEST_BAR: usize = 24;

/// Writes the tables, and what they leave out.
pub(super) fn write(
    out: &mut dyn Write,
    rows: &[LatencyRow],
    excluded: Excluded,
    look: Look,
) -> io::Result<()> {
    let paint = Paint::new(look.color);
    if rows.is_empty() {
        writeln!(out, "no packet ran its course\n")?;
    }
    for direction in rows.chunk_by(|a, b| a.direction == b.direction) {
        let count = direction
            .iter()
            .find(|row| row.stage.is_none())
            .map_or(0, |row| row.count);
        let name = direction
            .first()
            .map_or("", |row| words::direction(row.direction));
        writeln!(
            out,
            "{}: {}",
            paint.with(BOLD, name),
            units::counted(count, "packet")
        )?;
        let bare = table(direction, 0);
        let room = look.width.saturating_sub(INDENT.len() + bare.width());
        let bars = if room < SHORTEST_BAR {
            0
        } else {
            room.min(LONGEST_BAR)
        };
        table(direction, bars).write(out, paint, INDENT)?;
        writeln!(out)?;
    }
    let parts: Vec<String> = [
        (excluded.dropped, "dropped"),
        (excluded.unfinished, "unfinished"),
        (excluded.partial, "without their beginning"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if !parts.is_empty() {
        writeln!(
            out,
            "{}",
            paint.with(DIM, format_args!("not in the table: {}", parts.join(", ")))
        )?;
    }
    Ok(())
}

fn table(rows: &[LatencyRow], bar_cells: usize) -> Table {
    let mut table = Table::new(COLUMNS);
    for row in rows {
        let gap = row.state == StageState::Gap;
        let at_most = if gap { "≤" } else { "" };
        let style = match (gap, row.stage) {
            (true, _) => DOUBTFUL,
            (false, None) => BOLD,
            (false, Some(_)) => PLAIN,
        };
        let mut cells = vec![
            row.stage.map_or("total", |stage| stage.as_str()).to_owned(),
            row.count.to_string(),
        ];
        cells.extend(
            [row.p50_ns, row.p90_ns, row.p99_ns, row.p999_ns, row.max_ns]
                .iter()
                .map(|&ns| format!("{at_most}{}", units::duration(ns))),
        );
        cells.push(units::percent(row.share));
        let mut cells: Vec<Cell> = cells
            .into_iter()
            .map(|text| Cell::new(text).styled(style))
            .collect();
        if row.stage.is_some() {
            let fill = if gap { Fill::Light } else { Fill::Solid };
            let bar = bar::span(0, parts_of_whole(row.share), WHOLE, bar_cells, fill);
            cells.push(Cell::new(bar).styled(if gap { DOUBTFUL } else { BAR }));
        }
        table.row(cells, Vec::new());
    }
    table
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share lies between 0 and 1"
)]
fn parts_of_whole(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * WHOLE as f64) as u64
}
