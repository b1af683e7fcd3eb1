//! Interfaces and qdiscs.

use std::io;

use super::super::paint::{BAD, DIM, PLAIN, clean};
use super::super::table::{Align, Cell, Table};
use super::super::units::bytes;
use super::Page;
use crate::stack::{
    Section,
    interfaces::{Interface, Interfaces, Napi, Qdisc},
};

/// Counters with a column of their own.
const COLUMNS: [&str; 8] = [
    "rx_packets",
    "rx_bytes",
    "rx_dropped",
    "rx_errors",
    "tx_packets",
    "tx_bytes",
    "tx_dropped",
    "tx_errors",
];

impl Page<'_> {
    pub(super) fn interfaces(
        &mut self,
        now: &Interfaces,
        growth: Option<&Interfaces>,
    ) -> io::Result<()> {
        let mut table = Table::new(&[
            ("INTERFACE", Align::Left),
            ("STATE", Align::Left),
            ("MTU", Align::Right),
            ("RX PACKETS", Align::Right),
            ("BYTES", Align::Right),
            ("DROPPED", Align::Right),
            ("ERRORS", Align::Right),
            ("TX PACKETS", Align::Right),
            ("BYTES", Align::Right),
            ("DROPPED", Align::Right),
            ("ERRORS", Align::Right),
        ]);
        let before = |now: &Interface| {
            let mut all = growth?.interfaces.iter();
            all.find(|before| before.index == now.index)
        };
        for one in &now.interfaces {
            let growth = before(one);
            let mut cells = vec![
                Cell::new(clean(&one.name)),
                Cell::new(state(one)),
                Cell::new(one.mtu_bytes.map_or(String::new(), |mtu| mtu.to_string())),
            ];
            for name in COLUMNS {
                let value = one.get(name);
                let growth = growth.and_then(|growth| growth.get(name));
                let lost =
                    value > Some(0) && (name.ends_with("dropped") || name.ends_with("errors"));
                let text = value.map_or(String::new(), |value| self.counter(value, growth));
                cells.push(Cell::new(text).styled(if lost { BAD } else { PLAIN }));
            }
            // The rest only where it counted something.
            let others: Vec<String> = one
                .counters
                .iter()
                .filter(|(name, value)| **value > 0 && !COLUMNS.contains(&name.as_str()))
                .map(|(name, value)| {
                    let growth = growth.and_then(|growth| growth.get(name));
                    format!("{name} {}", self.counter(*value, growth))
                })
                .collect();
            let mut below = Vec::new();
            if !others.is_empty() && self.at_length(Section::Interfaces) {
                below.push(format!("  {}", others.join(", ")));
            }
            if self.at_length(Section::Interfaces) {
                below.extend(one.napi.iter().map(napi));
                below.extend(one.napi.iter().filter_map(spread));
            }
            table.row(cells, below);
        }
        self.table("interfaces", &table)?;
        self.qdiscs(now, growth)
    }

    fn qdiscs(&mut self, now: &Interfaces, growth: Option<&Interfaces>) -> io::Result<()> {
        let mut table = Table::new(&[
            ("QDISC", Align::Left),
            ("INTERFACE", Align::Left),
            ("PARENT", Align::Left),
            ("PACKETS", Align::Right),
            ("DROPPED", Align::Right),
            ("OVERLIMITS", Align::Right),
            ("REQUEUES", Align::Right),
            ("BACKLOG", Align::Left),
        ]);
        let mut rows = 0;
        let all = self.at_length(Section::Interfaces);
        for interface in &now.interfaces {
            let growth = growth.and_then(|growth| {
                let mut all = growth.interfaces.iter();
                all.find(|before| before.index == interface.index)
            });
            for one in &interface.qdiscs {
                // What queues nothing and lost nothing can wait for the section at length.
                let quiet = one.kind == "noqueue" || one.packets + one.drops == 0;
                if quiet && !all {
                    continue;
                }
                let growth = growth.and_then(|growth| {
                    let mut all = growth.qdiscs.iter();
                    all.find(|before| {
                        (&before.handle, &before.parent) == (&one.handle, &one.parent)
                    })
                });
                let cell = |of: fn(&Qdisc) -> u64| Cell::new(self.counter(of(one), growth.map(of)));
                rows += 1;
                table.row(
                    vec![
                        Cell::new(clean(&format!("{} {}", one.kind, one.handle))),
                        Cell::new(clean(&interface.name)),
                        Cell::new(clean(&one.parent)),
                        cell(|qdisc| qdisc.packets),
                        cell(|qdisc| qdisc.drops).styled(if one.drops > 0 { BAD } else { PLAIN }),
                        cell(|qdisc| qdisc.overlimits),
                        cell(|qdisc| qdisc.requeues),
                        Cell::new(match one.backlog_packets {
                            0 => "0".to_owned(),
                            packets => format!("{packets} ({})", bytes(one.backlog_bytes)),
                        }),
                    ],
                    Vec::new(),
                );
            }
        }
        if rows > 0 {
            self.table("qdiscs", &table)
        } else {
            let text = "qdiscs: none has queued anything";
            writeln!(self.out, "  {}", self.paint.with(DIM, text))
        }
    }
}

fn state(one: &Interface) -> &'static str {
    match (one.up, one.carrier) {
        (false, _) => "down",
        (true, false) => "no carrier",
        (true, true) => "up",
    }
}

/// How packets are spread over CPUs, queue by queue, where that is set; masks as the kernel writes them.
fn spread(napi: &Napi) -> Option<String> {
    let is_set = |mask: &&str| mask.chars().any(|digit| !matches!(digit, '0' | ','));
    let mut parts = Vec::new();
    for (number, queue) in napi.receive.iter().enumerate() {
        if let Some(mask) = queue.rps_cpus.as_deref().filter(is_set) {
            parts.push(format!("rx-{number} RPS to CPUs {}", clean(mask)));
        }
        if let Some(flows) = queue.rps_flow_count.filter(|flows| *flows > 0) {
            parts.push(format!("rx-{number} RFS of {flows} flows"));
        }
    }
    for (number, queue) in napi.transmit.iter().enumerate() {
        if let Some(mask) = queue.xps_cpus.as_deref().filter(is_set) {
            parts.push(format!("tx-{number} XPS from CPUs {}", clean(mask)));
        }
    }
    (!parts.is_empty()).then(|| format!("  {}", parts.join(", ")))
}

fn napi(napi: &Napi) -> String {
    let rps = napi.receive.iter().filter(|queue| queue.rps()).count();
    let mut text = format!(
        "  queues: {} rx ({rps} with RPS), {} tx",
        napi.receive.len(),
        napi.transmit.len()
    );
    if let Some(threaded) = napi.threaded {
        text += if threaded {
            "; NAPI in threads"
        } else {
            "; NAPI in softirqs"
        };
    }
    if let Some(ns) = napi.gro_flush_timeout_ns.filter(|ns| *ns > 0) {
        text += &format!("; gro_flush_timeout {ns} ns");
    }
    if let Some(polls) = napi.defer_hard_irqs.filter(|polls| *polls > 0) {
        text += &format!("; napi_defer_hard_irqs {polls}");
    }
    let timeouts: u64 = napi
        .transmit
        .iter()
        .filter_map(|queue| queue.timeouts)
        .sum();
    if timeouts > 0 {
        text += &format!("; {timeouts} transmit timeouts");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::interfaces::{ReceiveQueue, TransmitQueue};

    #[test]
    fn queues_are_named_where_something_is_set() {
        let receive = |mask: &str, flows| ReceiveQueue {
            rps_cpus: Some(mask.to_owned()),
            rps_flow_count: Some(flows),
        };
        let transmit = |mask: &str| TransmitQueue {
            xps_cpus: Some(mask.to_owned()),
            ..TransmitQueue::default()
        };
        let mut napi = Napi {
            receive: vec![receive("00,00000000", 0), receive("00,00000003", 4096)],
            transmit: vec![transmit("1"), transmit("0")],
            ..Napi::default()
        };
        assert_eq!(
            spread(&napi).as_deref(),
            Some("  rx-1 RPS to CPUs 00,00000003, rx-1 RFS of 4096 flows, tx-0 XPS from CPUs 1")
        );
        napi.receive.pop();
        napi.transmit.clear();
        assert_eq!(spread(&napi), None);
    }
}
