//! The network stack's counters and settings.

use std::io::{self, Write};

use super::Look;
use super::paint::{BOLD, DOUBTFUL, Paint, clean};
use super::table::{Align, Cell, Table};
use super::{stack_connections, stack_nic};
use crate::stack::{Namespace, Report, Section, protocols::Protocols};

/// What the parts of the text are written with.
struct Page<'a> {
    out: &'a mut dyn Write,
    paint: Paint,
    /// Seconds over which counters grew.
    seconds: Option<f64>,
}

/// Writes the sections at length, or with none named an overview of all.
pub fn write(
    out: &mut dyn Write,
    report: &Report,
    sections: &[Section],
    look: Look,
) -> io::Result<()> {
    let growth = report.growth.as_ref();
    let mut page = Page {
        out,
        paint: Paint::new(look.color),
        seconds: growth.map(|growth| growth.interval_ns as f64 / 1e9),
    };
    for namespace in &report.now.namespaces {
        let growth = growth.and_then(|growth| {
            let mut all = growth.of.namespaces.iter();
            all.find(|one| (one.inode, &one.name) == (namespace.inode, &namespace.name))
        });
        page.namespace(namespace, growth, sections)?;
    }
    Ok(())
}

impl Page<'_> {
    fn namespace(
        &mut self,
        now: &Namespace,
        growth: Option<&Namespace>,
        sections: &[Section],
    ) -> io::Result<()> {
        self.title(&format!("network namespace {}", clean(&now.name)))?;
        if let Some(protocols) = &now.protocols {
            let growth = growth.and_then(|growth| growth.protocols.as_ref());
            self.protocols(protocols, growth, sections.contains(&Section::Protocols))?;
        }
        if let Some(connections) = &now.connections {
            let growth = growth.and_then(|growth| growth.connections.as_ref());
            let all = sections.contains(&Section::Connections);
            let growth = growth.zip(self.seconds);
            stack_connections::write(self.out, self.paint, connections, growth, all)?;
        }
        if let Some(nics) = &now.nic {
            let growth = growth.and_then(|growth| growth.nic.as_ref());
            let all = sections.contains(&Section::Nic);
            let growth = growth.zip(self.seconds);
            stack_nic::write(self.out, self.paint, nics, growth, all)?;
        }
        for missing in &now.missing {
            let text = format!("not seen: {}: {missing}", missing.section);
            writeln!(self.out, "{}", self.paint.with(DOUBTFUL, clean(&text)))?;
        }
        writeln!(self.out)
    }

    fn title(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.paint.with(BOLD, title))
    }

    fn protocols(
        &mut self,
        now: &Protocols,
        growth: Option<&Protocols>,
        _all: bool,
    ) -> io::Result<()> {
        let mut table = Table::new(&[
            ("COUNTER", Align::Left),
            ("VALUE", Align::Right),
            ("PER SECOND", Align::Right),
        ]);
        for (name, value) in now.counters.iter().filter(|(_, value)| **value > 0) {
            let rate = growth
                .and_then(|growth| growth.get(name))
                .zip(self.seconds)
                .map(|(growth, seconds)| format!("{:.1}", growth as f64 / seconds));
            table.row(
                vec![
                    Cell::new(clean(name)),
                    Cell::new(value.to_string()),
                    Cell::new(rate.unwrap_or_default()),
                ],
                Vec::new(),
            );
        }
        table.write(self.out, self.paint, "  ")
    }
}
