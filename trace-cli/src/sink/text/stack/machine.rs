//! Softirqs and interrupts, CPU by CPU.

use std::io;

use super::super::paint::{BAD, DIM, PLAIN, clean};
use super::super::table::{Align, Cell, Table};
use super::super::units::{duration, percent};
use super::Page;
use crate::stack::{Machine, Section, interrupts::Interrupts, polls::Polls};

/// More CPUs than these are shown in an overview only where something was lost.
const FEW_CPUS: usize = 8;

impl Page<'_> {
    pub(super) fn machine(&mut self, now: &Machine, growth: Option<&Machine>) -> io::Result<()> {
        let Some(softirq) = &now.softirq else {
            return Ok(());
        };
        let growth = growth.and_then(|growth| growth.softirq.as_ref());
        let mut table = Table::new(&[
            ("CPU", Align::Right),
            ("PROCESSED", Align::Right),
            ("DROPPED", Align::Right),
            ("TIME SQUEEZE", Align::Right),
            ("RPS", Align::Right),
            ("FLOW LIMIT", Align::Right),
            ("BACKLOG", Align::Right),
            ("NET_RX", Align::Right),
            ("NET_TX", Align::Right),
        ]);
        let all = self.at_length(Section::Softirq) || softirq.cpus.len() <= FEW_CPUS;
        let mut left_out = 0_u64;
        for cpu in &softirq.cpus {
            if !all && cpu.dropped == 0 && cpu.time_squeeze == 0 {
                left_out += 1;
                continue;
            }
            let before =
                growth.and_then(|growth| growth.cpus.iter().find(|one| one.cpu == cpu.cpu));
            let optional = |now: Option<u64>, before: Option<u64>| {
                now.map_or(String::new(), |now| self.counter(now, before))
            };
            let lost = |value| if value > 0 { BAD } else { PLAIN };
            table.row(
                vec![
                    Cell::new(cpu.cpu.to_string()),
                    Cell::new(self.counter(cpu.processed, before.map(|cpu| cpu.processed))),
                    Cell::new(self.counter(cpu.dropped, before.map(|cpu| cpu.dropped)))
                        .styled(lost(cpu.dropped)),
                    Cell::new(self.counter(cpu.time_squeeze, before.map(|cpu| cpu.time_squeeze))),
                    Cell::new(self.counter(cpu.received_rps, before.map(|cpu| cpu.received_rps))),
                    Cell::new(optional(
                        cpu.flow_limited,
                        before.and_then(|cpu| cpu.flow_limited),
                    )),
                    Cell::new(optional(cpu.backlog_packets, None)),
                    Cell::new(optional(cpu.net_rx, before.and_then(|cpu| cpu.net_rx))),
                    Cell::new(optional(cpu.net_tx, before.and_then(|cpu| cpu.net_tx))),
                ],
                Vec::new(),
            );
        }
        self.table("softirq (packets by CPU)", &table)?;
        if left_out > 0 {
            let text = format!("{left_out} more CPUs dropped nothing and were never squeezed");
            writeln!(self.out, "  {}", self.paint.with(DIM, text))?;
        }
        let mut settings: Vec<String> = softirq
            .settings
            .iter()
            .map(|(name, value)| format!("{}={value}", name.trim_start_matches("core/")))
            .collect();
        if let Some(cpus) = &softirq.flow_limit_cpus {
            settings.push(format!("flow_limit_cpu_bitmap={cpus}"));
        }
        if !settings.is_empty() {
            let text = settings.join(" ");
            writeln!(self.out, "  {}", self.paint.with(DIM, clean(&text)))?;
        }
        Ok(())
    }

    /// Polls by device: how full they are says how close it is to not keeping up.
    pub(super) fn polls(&mut self, polls: &Polls) -> io::Result<()> {
        let title = format!(
            "polls of devices, counted for {}",
            duration(polls.interval_ns)
        );
        if polls.devices.is_empty() {
            let text = format!("{title}: none");
            return writeln!(self.out, "{}", self.paint.with(DIM, text));
        }
        let mut table = Table::new(&[
            ("DEVICE", Align::Left),
            ("NAMESPACE", Align::Left),
            ("POLLS", Align::Right),
            ("PACKETS", Align::Right),
            ("PER POLL", Align::Right),
            ("BUDGET USED UP", Align::Right),
        ]);
        for one in &polls.devices {
            let part = |of: u64| of as f64 / one.polls.max(1) as f64;
            let full = Cell::new(format!(
                "{} ({})",
                one.full_polls,
                percent(part(one.full_polls))
            ));
            table.row(
                vec![
                    Cell::new(clean(&one.device)),
                    Cell::new(clean(one.netns.as_deref().unwrap_or("-"))),
                    Cell::new(one.polls.to_string()),
                    Cell::new(one.packets.to_string()),
                    Cell::new(format!("{:.1}", part(one.packets))),
                    full.styled(if one.full_polls > 0 { BAD } else { PLAIN }),
                ],
                Vec::new(),
            );
        }
        self.table(&title, &table)?;
        if polls.other_polls > 0 {
            let text = format!("{} polls of more devices", polls.other_polls);
            writeln!(self.out, "  {}", self.paint.with(DIM, text))?;
        }
        Ok(())
    }

    pub(super) fn interrupts(
        &mut self,
        now: &Interrupts,
        growth: Option<&Interrupts>,
    ) -> io::Result<()> {
        if now.interrupts.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&[
            ("IRQ", Align::Right),
            ("CARD", Align::Left),
            ("NAME", Align::Left),
            ("TOTAL", Align::Right),
            ("MAY GO TO", Align::Right),
            ("GOES TO", Align::Right),
            ("BY CPU", Align::Left),
        ]);
        for one in &now.interrupts {
            let growth = growth.and_then(|growth| {
                growth
                    .interrupts
                    .iter()
                    .find(|before| before.irq == one.irq)
            });
            let counts: Vec<String> = one
                .counts
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(cpu, count)| {
                    let growth = growth.and_then(|growth| growth.counts.get(cpu).copied());
                    format!("{cpu}: {}", self.counter(*count, growth))
                })
                .collect();
            table.row(
                vec![
                    Cell::new(one.irq.to_string()),
                    Cell::new(clean(&one.interface)),
                    Cell::new(clean(&one.name)),
                    Cell::new(self.counter(one.total(), growth.map(|one| one.total()))),
                    Cell::new(one.affinity.clone().unwrap_or_default()),
                    Cell::new(one.effective_affinity.clone().unwrap_or_default()),
                    Cell::new(counts.join(", ")),
                ],
                Vec::new(),
            );
        }
        self.table("interrupts of cards", &table)
    }
}
