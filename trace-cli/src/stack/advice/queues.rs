//! Rules about interfaces: rings and qdiscs.

use super::{Finding, View, at_least_one_in, evidence};
use crate::stack::{
    Namespace,
    nic::{Loss, Nic},
};

/// Qdiscs that drop only because they are full, and take their limit from the interface.
const PLAIN: [&str; 3] = ["pfifo_fast", "pfifo", "bfifo"];

/// The card's own counters of packets that found no room: the kernel's, and those of its driver.
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
            let name = &interface.name;
            let of_kernel = ["rx_missed_errors", "rx_fifo_errors", "rx_over_errors"]
                .into_iter()
                .filter_map(|name| Some(evidence(name, interface.get(name)?)));
            let of_driver = card(view.counted, name)
                .into_iter()
                .flat_map(|card| card.counters.iter().flatten())
                .filter(|counter| counter.loss == Some(Loss::Missed) && counter.name.contains("rx"))
                .map(|counter| evidence(format!("ethtool -S: {}", counter.name), counter.value));
            let mut evidence: Vec<_> = of_kernel
                .chain(of_driver)
                .filter(|evidence| evidence.value > 0)
                .collect();
            if evidence.is_empty() {
                return None;
            }
            let rings = card(view.now, name).and_then(|card| card.rings.as_ref());
            let sizes = rings.and_then(|rings| rings.rx.zip(rings.rx_max));
            if let Some((now, max)) = sizes {
                evidence.push(super::evidence("ethtool -g: RX", now.into()));
                evidence.push(super::evidence("ethtool -g: RX maximum", max.into()));
            }
            let commands = match sizes {
                Some((now, max)) if now < max => vec![format!("ethtool -G {name} rx {max}")],
                // As large as it can be: only quicker polls help.
                Some(_) => vec![format!("ethtool -S {name}"), format!("ethtool -c {name}")],
                None => vec![format!("ethtool -g {name}")],
            };
            Some(Finding {
                subject: name.clone(),
                evidence,
                commands,
            })
        })
        .collect()
}

/// What the section of cards says of an interface.
fn card<'a>(namespace: &'a Namespace, name: &str) -> Option<&'a Nic> {
    let mut cards = namespace.nic.iter().flat_map(|all| &all.devices);
    cards.find(|card| card.name == name)
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
