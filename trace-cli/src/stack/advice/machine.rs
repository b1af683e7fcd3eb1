//! Rules about CPUs: softirqs, backlogs, and how evenly packets and interrupts are spread.

use std::collections::BTreeMap;

use super::{Finding, View, at_least_one_in, doubled, evidence};
use crate::stack::Machine;

/// Fewer are no trouble, whatever their share.
const ENOUGH_SQUEEZES: u64 = 10;
/// Fewer packets say nothing about how they are spread.
const ENOUGH_PACKETS: u64 = 100_000;
/// Fewer interrupts say nothing, either.
const ENOUGH_INTERRUPTS: u64 = 10_000;

/// One softirq in a thousand: now and then is no trouble.
pub(super) fn napi_budget(now: &Machine, view: &View<'_>) -> Vec<Finding> {
    let (Some(now), Some(counted)) = (&now.softirq, &view.machine.softirq) else {
        return Vec::new();
    };
    let commands: Vec<String> = ["core/netdev_budget", "core/netdev_budget_usecs"]
        .into_iter()
        .filter_map(|name| Some(doubled(name, u64::try_from(*now.settings.get(name)?).ok()?)))
        .collect();
    counted
        .cpus
        .iter()
        .filter(|cpu| cpu.time_squeeze >= ENOUGH_SQUEEZES)
        .filter(|cpu| at_least_one_in(cpu.time_squeeze, 1000, cpu.net_rx.unwrap_or(0)))
        .map(|cpu| Finding {
            subject: format!("CPU {}", cpu.cpu),
            evidence: [
                Some(evidence("softnet_stat time_squeeze", cpu.time_squeeze)),
                cpu.net_rx.map(|runs| evidence("softirqs NET_RX", runs)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            commands: commands.clone(),
        })
        .collect()
}

pub(super) fn backlog_drops(now: &Machine, view: &View<'_>) -> Vec<Finding> {
    let (Some(now), Some(counted)) = (&now.softirq, &view.machine.softirq) else {
        return Vec::new();
    };
    let name = "core/netdev_max_backlog";
    let limit = now
        .settings
        .get(name)
        .and_then(|limit| u64::try_from(*limit).ok());
    counted
        .cpus
        .iter()
        .filter(|cpu| cpu.dropped > 0)
        .map(|cpu| Finding {
            subject: format!("CPU {}", cpu.cpu),
            evidence: [
                Some(evidence("softnet_stat dropped", cpu.dropped)),
                limit.map(|limit| evidence(name, limit)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            commands: limit
                .map(|limit| doubled(name, limit))
                .into_iter()
                .collect(),
        })
        .collect()
}

/// Nine tenths of all packets on one CPU of several, and a card that could spread them.
pub(super) fn one_cpu(view: &View<'_>) -> Vec<Finding> {
    let (Some(softirq), Some(interfaces)) = (&view.machine.softirq, &view.now.interfaces) else {
        return Vec::new();
    };
    let packets: BTreeMap<u32, u64> = softirq
        .cpus
        .iter()
        .map(|cpu| (cpu.cpu, cpu.processed))
        .collect();
    let Some((cpu, most, total)) = busiest(&packets, ENOUGH_PACKETS) else {
        return Vec::new();
    };
    let commands: Vec<String> = interfaces
        .interfaces
        .iter()
        // A card of its own, that packets come in at, with one receive queue and no RPS.
        .filter(|interface| interface.kind.is_none() && interface.name != "lo" && interface.up)
        .filter(|interface| {
            let queues = interface.napi.as_ref().map(|napi| napi.receive.as_slice());
            queues.is_some_and(|queues| queues.len() == 1 && !queues[0].rps())
        })
        .map(|interface| {
            let mask = mask(packets.keys().copied());
            format!(
                "echo {mask} > /sys/class/net/{}/queues/rx-0/rps_cpus",
                interface.name
            )
        })
        .collect();
    if commands.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        subject: format!("CPU {cpu}"),
        evidence: vec![
            evidence(format!("softnet_stat processed, CPU {cpu}"), most),
            evidence("softnet_stat processed, all CPUs", total),
        ],
        commands,
    }]
}

pub(super) fn interrupts_on_one_cpu(view: &View<'_>) -> Vec<Finding> {
    let Some(interrupts) = &view.counted.interrupts else {
        return Vec::new();
    };
    let mut cards: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for interrupt in interrupts.interrupts.iter().filter(|one| one.total() > 0) {
        cards
            .entry(&interrupt.interface)
            .or_default()
            .push(interrupt);
    }
    let mut findings = Vec::new();
    for (card, interrupts) in cards {
        let mut counts = BTreeMap::new();
        for (cpu, count) in interrupts.iter().flat_map(|one| &one.counts) {
            *counts.entry(*cpu).or_default() += count;
        }
        if interrupts.len() < 2 {
            continue;
        }
        let Some((cpu, most, total)) = busiest(&counts, ENOUGH_INTERRUPTS) else {
            continue;
        };
        let cpus: Vec<u32> = counts.keys().copied().collect();
        findings.push(Finding {
            subject: card.to_owned(),
            evidence: vec![
                evidence(format!("/proc/interrupts of {card}, CPU {cpu}"), most),
                evidence(format!("/proc/interrupts of {card}, all CPUs"), total),
            ],
            commands: interrupts
                .iter()
                .zip(cpus.iter().cycle())
                .map(|(one, cpu)| format!("echo {cpu} > /proc/irq/{}/smp_affinity_list", one.irq))
                .collect(),
        });
    }
    findings
}

/// The CPU with nine tenths of all, its count, and that of all; `None` if there is no such CPU, or too little to tell.
fn busiest(counts: &BTreeMap<u32, u64>, enough: u64) -> Option<(u32, u64, u64)> {
    let total: u64 = counts.values().sum();
    let (cpu, most) = counts.iter().max_by_key(|(_, count)| **count)?;
    let alone = *most >= total - total / 10;
    (counts.len() > 1 && total >= enough && alone).then_some((*cpu, *most, total))
}

/// A mask of CPUs as sysfs takes it: groups of 32 in hexadecimal, the highest first.
fn mask(cpus: impl Iterator<Item = u32>) -> String {
    let mut groups = vec![0_u32];
    for cpu in cpus {
        let group = (cpu / 32) as usize;
        if groups.len() <= group {
            groups.resize(group + 1, 0);
        }
        groups[group] |= 1 << (cpu % 32);
    }
    let mut text = format!("{:x}", groups[groups.len() - 1]);
    for group in groups.iter().rev().skip(1) {
        text += &format!(",{group:08x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_as_sysfs_takes_them() {
        assert_eq!(mask([0, 1].into_iter()), "3");
        assert_eq!(mask([31, 32].into_iter()), "1,80000000");
    }

    #[test]
    fn the_busiest_has_nine_tenths() {
        let counts = |pairs: &[(u32, u64)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        assert_eq!(
            busiest(&counts(&[(0, 90), (3, 10)]), 100),
            Some((0, 90, 100))
        );
        assert_eq!(busiest(&counts(&[(0, 89), (3, 11)]), 100), None);
        assert_eq!(busiest(&counts(&[(0, 90), (3, 9)]), 100), None);
        // One CPU cannot share with others.
        assert_eq!(busiest(&counts(&[(0, 100)]), 100), None);
    }
}
