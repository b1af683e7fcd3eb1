//! What the kernel counted by itself during a trace, as far as it means loss.

use std::io::{self, Write};

use super::Look;
use super::paint::{BAD, BOLD, DIM, Paint, clean};
use super::table::{Align, Cell, Table};
use super::units;
use crate::stack::{
    interfaces::Interface,
    meanwhile::{Counted, Meanwhile},
    protocols::meaning,
};

/// A counter that grew: where, which, by how much, what it means.
type Row = (String, String, u64, &'static str);

/// Interfaces' counters that mean loss (`Documentation/networking/statistics.rst`).
const INTERFACE: &[(&str, &str)] = &[
    ("rx_errors", "received broken"),
    (
        "rx_dropped",
        "received, but dropped by the driver, or by the stack before any protocol",
    ),
    ("rx_missed_errors", "not received: the card had no room"),
    ("rx_nohandler", "received on a device that is not in use"),
    ("tx_errors", "not sent: the device failed"),
    ("tx_dropped", "not sent: dropped by the driver"),
];
const QDISC: &str = "not sent: dropped by the qdisc";
const BACKLOG: &str = "packets dropped: the CPU's backlog was full, or one flow had too much of it";

/// Writes the counters that grew; nothing, if there is none.
pub(super) fn write(out: &mut dyn Write, meanwhile: &Meanwhile, look: Look) -> io::Result<()> {
    let paint = Paint::new(look.color);
    let of_cpus = meanwhile.cpus.iter().map(|cpu| {
        let name = "softnet_stat dropped".to_owned();
        (format!("cpu {}", cpu.cpu), name, cpu.dropped, BACKLOG)
    });
    let rows: Vec<Row> = of_cpus
        .chain(meanwhile.namespaces.iter().flat_map(of_namespace))
        .filter(|(_, _, growth, _)| *growth > 0)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        ("GREW BY", Align::Right),
        ("COUNTER", Align::Left),
        ("WHERE", Align::Left),
        ("MEANING", Align::Left),
    ]);
    for (place, counter, growth, meaning) in rows {
        let cells = vec![
            Cell::new(growth.to_string()).styled(BOLD),
            Cell::new(clean(&counter)).styled(BAD),
            Cell::new(clean(&place)),
            Cell::new(meaning).styled(DIM),
        ];
        table.row(cells, Vec::new());
    }
    let ns = meanwhile.end_ns.saturating_sub(meanwhile.start_ns);
    let title = format!(
        "what the kernel counted meanwhile, of all packets, in {}",
        units::duration(ns)
    );
    writeln!(out, "{}", paint.with(BOLD, title))?;
    table.write(out, paint, "  ")?;
    writeln!(out)
}

fn of_namespace(counted: &Counted) -> impl Iterator<Item = Row> {
    let protocols = counted.protocols.iter().filter_map(|(name, growth)| {
        Some((counted.name.clone(), name.clone(), *growth, meaning(name)?))
    });
    let interfaces = counted
        .interfaces
        .iter()
        .flat_map(move |interface| of_interface(&counted.name, interface));
    protocols.chain(interfaces)
}

fn of_interface(netns: &str, interface: &Interface) -> impl Iterator<Item = Row> {
    let place = format!("{} in {netns}", interface.name);
    let at = place.clone();
    let counters = INTERFACE.iter().filter_map(move |(name, meaning)| {
        let growth = interface.get(name)?;
        Some((at.clone(), (*name).to_owned(), growth, *meaning))
    });
    // A child's drops are its root's, too, and an ingress qdisc counts what filters dropped on purpose.
    let mut qdiscs = interface.qdiscs.iter();
    let root = qdiscs.find(|qdisc| qdisc.parent == "root").map(|qdisc| {
        let name = format!("tc -s qdisc: {} dropped", qdisc.kind);
        (place, name, qdisc.drops, QDISC)
    });
    counters.chain(root)
}
