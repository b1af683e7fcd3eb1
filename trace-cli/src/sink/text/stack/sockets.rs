//! Socket memory, and tables that can be full.

use std::io;

use super::super::paint::{BAD, DIM, PLAIN, clean};
use super::super::table::{Align, Cell, Table};
use super::super::units::bytes;
use super::Page;
use crate::stack::{
    Section,
    sockets::{Buffer, Sockets},
    tables::Tables,
};

impl Page<'_> {
    pub(super) fn sockets(&mut self, now: &Sockets) -> io::Result<()> {
        let mut table = Table::new(&[
            ("PROTOCOL", Align::Left),
            ("IN USE", Align::Right),
            ("ORPHANS", Align::Right),
            ("TIME-WAIT", Align::Right),
            ("ALLOCATED", Align::Right),
            ("MEMORY", Align::Right),
            ("PRESSURE AT", Align::Right),
            ("FULL AT", Align::Right),
        ]);
        let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
        for one in &now.protocols {
            let marks = now.memory.iter().find(|memory| memory.protocol == one.name);
            let idle = one.in_use == 0
                && one.memory_bytes.unwrap_or(0) == 0
                && one.time_wait.unwrap_or(0) == 0;
            if idle && marks.is_none() && !self.at_length(Section::Sockets) {
                continue;
            }
            let size = |value: Option<u64>| value.map_or(String::new(), bytes);
            let style = match marks {
                Some(marks) if marks.used_bytes >= marks.pressure_bytes => BAD,
                _ => PLAIN,
            };
            table.row(
                vec![
                    Cell::new(clean(&one.name)),
                    Cell::new(one.in_use.to_string()),
                    Cell::new(number(one.orphans)),
                    Cell::new(number(one.time_wait)),
                    Cell::new(number(one.allocated)),
                    Cell::new(size(one.memory_bytes)).styled(style),
                    Cell::new(size(marks.map(|marks| marks.pressure_bytes))),
                    Cell::new(size(marks.map(|marks| marks.high_bytes))),
                ],
                Vec::new(),
            );
        }
        self.table(&format!("sockets ({} in use)", now.used), &table)?;
        let buffer = |name: &str, buffer: Option<Buffer>| {
            let Buffer {
                min_bytes,
                default_bytes,
                max_bytes,
            } = buffer?;
            Some(format!("{name}={min_bytes}/{default_bytes}/{max_bytes}"))
        };
        let mut settings: Vec<String> = [
            buffer("tcp_rmem", now.tcp_receive_buffer),
            buffer("tcp_wmem", now.tcp_send_buffer),
        ]
        .into_iter()
        .flatten()
        .collect();
        settings.extend(now.limits.iter().map(|(name, value)| {
            let short = name.rsplit('/').next().unwrap_or(name);
            format!("{short}={value}")
        }));
        let text = settings.join(" ");
        writeln!(self.out, "  {}", self.paint.with(DIM, clean(&text)))
    }

    pub(super) fn tables(&mut self, now: &Tables, growth: Option<&Tables>) -> io::Result<()> {
        if now.tables.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&[
            ("TABLE", Align::Left),
            ("ENTRIES", Align::Right),
            ("MAXIMUM", Align::Right),
            ("COUNTERS", Align::Left),
        ]);
        for one in &now.tables {
            let number =
                |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
            let growth = growth.and_then(|growth| growth.get(&one.name));
            let counters: Vec<String> = one
                .counters
                .iter()
                .filter(|(_, value)| **value > 0)
                .map(|(name, value)| {
                    let growth = growth.and_then(|growth| growth.counters.get(name).copied());
                    format!("{name} {}", self.counter(*value, growth))
                })
                .collect();
            table.row(
                vec![
                    Cell::new(clean(&one.name)),
                    Cell::new(number(one.entries)),
                    Cell::new(number(one.max_entries)),
                    Cell::new(counters.join(", ")),
                ],
                Vec::new(),
            );
        }
        self.table("tables", &table)
    }
}
