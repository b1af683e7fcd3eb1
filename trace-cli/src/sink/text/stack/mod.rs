//! The network stack's counters and settings: an overview of all sections, or some at length.

mod advice;
mod connections;
mod interfaces;
mod machine;
mod nic;
mod protocols;
mod sockets;

use std::io::{self, Write};

use super::Look;
use super::paint::{BOLD, DOUBTFUL, Paint, clean};
use super::table::Table;
use crate::stack::{Namespace, Report, Section, SectionError};

/// What the parts of the text are written with.
struct Page<'a> {
    out: &'a mut dyn Write,
    paint: Paint,
    /// Seconds over which counters grew.
    seconds: Option<f64>,
    /// Sections at length; none is an overview of all.
    sections: &'a [Section],
}

/// Writes the sections at length, or with none named an overview of all; then the advice.
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
        sections,
    };
    if page.shows(Section::Softirq) {
        let machine = &report.now.machine;
        let growth = growth.map(|growth| &growth.of.machine);
        page.title("machine")?;
        page.machine(machine, growth)?;
        if let Some(polls) = &machine.polls {
            page.polls(polls)?;
        }
        page.missing(&machine.missing)?;
    }
    for namespace in &report.now.namespaces {
        let growth = growth.and_then(|growth| {
            let mut all = growth.of.namespaces.iter();
            all.find(|one| (one.inode, &one.name) == (namespace.inode, &namespace.name))
        });
        page.namespace(namespace, growth)?;
    }
    if page.shows(Section::Advice) {
        page.advice(&report.advice)?;
    }
    Ok(())
}

impl Page<'_> {
    /// Whether a section was asked for.
    fn shows(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }

    /// Whether it was asked for by name, so that nothing of it is left out.
    fn at_length(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }

    fn namespace(&mut self, now: &Namespace, growth: Option<&Namespace>) -> io::Result<()> {
        if self
            .sections
            .iter()
            .all(|section| matches!(section, Section::Softirq | Section::Advice))
            && !self.sections.is_empty()
        {
            return Ok(());
        }
        self.title(&format!("network namespace {}", clean(&now.name)))?;
        if let Some(sockets) = now
            .sockets
            .as_ref()
            .filter(|_| self.shows(Section::Sockets))
        {
            self.sockets(sockets)?;
        }
        if let Some(interrupts) = now
            .interrupts
            .as_ref()
            .filter(|_| self.shows(Section::Interrupts))
        {
            self.interrupts(
                interrupts,
                growth.and_then(|growth| growth.interrupts.as_ref()),
            )?;
        }
        if let Some(nics) = now.nic.as_ref().filter(|_| self.shows(Section::Nic)) {
            let growth = growth
                .and_then(|growth| growth.nic.as_ref())
                .zip(self.seconds);
            let all = self.at_length(Section::Nic);
            nic::write(self.out, self.paint, nics, growth, all)?;
        }
        if let Some(interfaces) = now
            .interfaces
            .as_ref()
            .filter(|_| self.shows(Section::Interfaces))
        {
            self.interfaces(
                interfaces,
                growth.and_then(|growth| growth.interfaces.as_ref()),
            )?;
        }
        if let Some(connections) = now
            .connections
            .as_ref()
            .filter(|_| self.shows(Section::Connections))
        {
            let growth = growth
                .and_then(|growth| growth.connections.as_ref())
                .zip(self.seconds);
            let all = self.at_length(Section::Connections);
            connections::write(self.out, self.paint, connections, growth, all)?;
        }
        if let Some(tables) = now.tables.as_ref().filter(|_| self.shows(Section::Tables)) {
            self.tables(tables, growth.and_then(|growth| growth.tables.as_ref()))?;
        }
        if let Some(protocols) = now
            .protocols
            .as_ref()
            .filter(|_| self.shows(Section::Protocols))
        {
            self.protocols(
                protocols,
                growth.and_then(|growth| growth.protocols.as_ref()),
            )?;
        }
        self.missing(&now.missing)
    }

    fn missing(&mut self, missing: &[SectionError]) -> io::Result<()> {
        for error in missing {
            let wanted = self
                .sections
                .iter()
                .any(|section| error.section == section.name());
            if wanted || self.sections.is_empty() {
                let text = format!("not seen: {}: {error}", error.section);
                writeln!(self.out, "  {}", self.paint.with(DOUBTFUL, clean(&text)))?;
            }
        }
        writeln!(self.out)
    }

    fn title(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.paint.with(BOLD, title))
    }

    fn table(&mut self, title: &str, table: &Table) -> io::Result<()> {
        self.title(title)?;
        table.write(self.out, self.paint, "  ")
    }

    /// A counter, and how fast it grows where that is known and it does.
    fn counter(&self, now: u64, growth: Option<u64>) -> String {
        match (growth, self.seconds) {
            (Some(growth), Some(seconds)) if growth > 0 && seconds > 0.0 => {
                format!("{now} (+{}/s)", rate(growth as f64 / seconds))
            }
            _ => now.to_string(),
        }
    }
}

/// Three digits where it is small.
fn rate(per_second: f64) -> String {
    let decimals = match per_second {
        rate if rate < 10.0 => 2,
        rate if rate < 100.0 => 1,
        _ => 0,
    };
    format!("{per_second:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(rate(0.5), "0.50");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(123_456.7), "123457");
    }
}
