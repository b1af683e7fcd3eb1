//! The `stack` record: one network namespace. Its sections are written as they are read (`crate::stack`).

use serde::Serialize;

use crate::stack::{Namespace, Report};

#[derive(Serialize)]
pub(super) struct StackRecord<'a> {
    taken_ns: u64,
    #[serde(flatten)]
    namespace: &'a Namespace,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<Growth<'a>>,
}

#[derive(Serialize)]
struct Growth<'a> {
    interval_ns: u64,
    #[serde(flatten)]
    namespace: &'a Namespace,
}

pub(super) fn records(report: &Report) -> impl Iterator<Item = StackRecord<'_>> {
    let growth_of = |inode, name: &str| {
        let growth = report.growth.as_ref()?;
        let mut all = growth.of.namespaces.iter();
        Some(Growth {
            interval_ns: growth.interval_ns,
            namespace: all.find(|one| (one.inode, one.name.as_str()) == (inode, name))?,
        })
    };
    report
        .now
        .namespaces
        .iter()
        .map(move |namespace| StackRecord {
            taken_ns: report.now.taken_ns,
            namespace,
            growth: growth_of(namespace.inode, &namespace.name),
        })
}
