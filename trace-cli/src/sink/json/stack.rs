//! The records of `stack`: `machine`, a `stack` for each network namespace, and an `advice` for each thing wrong. Sections are
//! written as they are read (`crate::stack`).

use serde::Serialize;

use super::Record;
use crate::stack::{Change, Machine, Namespace, Report};

#[derive(Serialize)]
pub(super) struct MachineRecord<'a> {
    taken_ns: u64,
    #[serde(flatten)]
    machine: &'a Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<MachineGrowth<'a>>,
}

#[derive(Serialize)]
struct MachineGrowth<'a> {
    interval_ns: u64,
    #[serde(flatten)]
    machine: &'a Machine,
}

#[derive(Serialize)]
pub(super) struct StackRecord<'a> {
    taken_ns: u64,
    #[serde(flatten)]
    namespace: &'a Namespace,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<StackGrowth<'a>>,
}

#[derive(Serialize)]
struct StackGrowth<'a> {
    interval_ns: u64,
    #[serde(flatten)]
    namespace: &'a Namespace,
}

/// All records of a report, in their order.
pub(super) fn records(report: &Report) -> impl Iterator<Item = Record<'_>> {
    let now = &report.now;
    let growth = report.growth.as_ref();
    let machine = Record::Machine(MachineRecord {
        taken_ns: now.taken_ns,
        machine: &now.machine,
        growth: growth.map(|growth| MachineGrowth {
            interval_ns: growth.interval_ns,
            machine: &growth.of.machine,
        }),
    });
    let namespaces = now.namespaces.iter().map(move |namespace| {
        Record::Stack(StackRecord {
            taken_ns: now.taken_ns,
            namespace,
            growth: growth.and_then(|growth| growth_of(growth, namespace)),
        })
    });
    std::iter::once(machine)
        .chain(namespaces)
        .chain(report.advice.iter().map(Record::Advice))
}

fn growth_of<'a>(growth: &'a Change, now: &Namespace) -> Option<StackGrowth<'a>> {
    let mut all = growth.of.namespaces.iter();
    Some(StackGrowth {
        interval_ns: growth.interval_ns,
        namespace: all.find(|one| (one.inode, &one.name) == (now.inode, &now.name))?,
    })
}
