//! Where packets are dropped: a table of groups, each with the kernel stack of its first drop.

use std::io::{self, Write};

use super::paint::{BAD, BOLD, Paint};
use super::table::{Align, Cell, Table};
use super::{Look, flow, place, units};
use crate::aggregate::drops::{DropGroup, GroupFlow};
use crate::dictionary::Dictionary;

const COLUMNS: &[(&str, Align)] = &[
    ("COUNT", Align::Right),
    ("REASON", Align::Left),
    ("PLACE", Align::Left),
    ("STAGE", Align::Left),
    ("FLOW", Align::Left),
];
const STACK: &str = "         ";

/// Writes the table.
pub(super) fn write(
    out: &mut dyn Write,
    groups: &[DropGroup],
    names: &Dictionary,
    look: Look,
) -> io::Result<()> {
    let paint = Paint::new(look.color);
    if groups.is_empty() {
        return writeln!(out, "no drops\n");
    }
    let total = groups.iter().map(|group| group.count).sum();
    writeln!(
        out,
        "{} in {}",
        paint.with(BOLD, units::counted(total, "drop")),
        units::counted(groups.len() as u64, "group")
    )?;
    let mut table = Table::new(COLUMNS);
    let mut last_stack: &[u64] = &[];
    for group in groups {
        let below = if !look.stacks || group.stack.is_empty() {
            Vec::new()
        } else if group.stack == last_stack {
            vec![format!("{STACK}the same stack")]
        } else {
            last_stack = &group.stack;
            group
                .stack
                .iter()
                .map(|&at| format!("{STACK}{}", place::function(at, names)))
                .collect()
        };
        table.row(cells(group, names), below);
    }
    table.write(out, paint, "")?;
    writeln!(out)
}

fn cells(group: &DropGroup, names: &Dictionary) -> Vec<Cell> {
    let flow = match group.flow {
        GroupFlow::Of(flow) => flow::tuple(flow),
        GroupFlow::NoHeaders => "no headers".to_owned(),
        GroupFlow::Others => "other flows".to_owned(),
    };
    // Only the group of all that found no room has no stage.
    let reason = group.stage.map_or("others".to_owned(), |_| {
        names
            .drop_reason_at(group.reason, group.location)
            .to_string()
    });
    vec![
        Cell::new(group.count.to_string()).styled(BOLD),
        Cell::new(reason).styled(BAD),
        Cell::new(
            group
                .location
                .map_or("?".to_owned(), |at| place::function(at, names)),
        ),
        Cell::new(group.stage.map_or("?", |stage| stage.as_str())),
        Cell::new(flow),
    ]
}
