//! Rules about interfaces: rings and qdiscs.

use super::{Finding, View, at_least_one_in, evidence};

/// Qdiscs that drop only because they are full, and take their limit from the interface.
const PLAIN: [&str; 3] = ["pfifo_fast", "pfifo", "bfifo"];

/// The card's own counters of packets that found no room.
pub(super) fn ring_overrun(view: &View<'_>) -> Vec<Finding> {
    let interfaces = view
        .counted
        .interfaces
        .iter()
        .flat_map(|all| &all.interfaces);
    interfaces
        // Virtual devices have no ring; some count other things here.
        .filter(|interface| interface.kind.is_none())
        .filter_map(|interface| {
            let evidence: Vec<_> = ["rx_missed_errors", "rx_fifo_errors", "rx_over_errors"]
                .into_iter()
                .filter_map(|name| Some(evidence(name, interface.get(name)?)))
                .filter(|evidence| evidence.value > 0)
                .collect();
            (!evidence.is_empty()).then(|| Finding {
                subject: interface.name.clone(),
                evidence,
                commands: vec![
                    format!("ethtool -g {}", interface.name),
                    format!(
                        "ethtool -G {} rx <the maximum that it shows>",
                        interface.name
                    ),
                ],
            })
        })
        .collect()
}

pub(super) fn qdisc_drops(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in view
        .counted
        .interfaces
        .iter()
        .flat_map(|all| &all.interfaces)
    {
        let name = &interface.name;
        for qdisc in &interface.qdiscs {
            // An ingress qdisc counts what filters dropped on purpose; a child's drops are its root's, too.
            let is_root = qdisc.parent == "root";
            let all = qdisc.packets.saturating_add(qdisc.drops);
            if !is_root || !at_least_one_in(qdisc.drops, 1000, all) {
                continue;
            }
            let mut commands = vec![format!("tc -s qdisc show dev {name}")];
            if PLAIN.contains(&qdisc.kind.as_str()) {
                if let Some(packets) = interface.queue_packets.filter(|packets| *packets > 0) {
                    let doubled = packets.saturating_mul(2);
                    commands.push(format!("ip link set dev {name} txqueuelen {doubled}"));
                }
                commands.push(format!("tc qdisc replace dev {name} root fq_codel"));
            }
            findings.push(Finding {
                subject: format!("{} {} of {name}", qdisc.kind, qdisc.handle),
                evidence: vec![
                    evidence("tc -s qdisc: dropped", qdisc.drops),
                    evidence("tc -s qdisc: pkt", qdisc.packets),
                ],
                commands,
            });
        }
    }
    findings
}
