//! Rules about tables that can be full.

use super::{Finding, View, doubled, evidence, nearly_full};

pub(super) fn conntrack_full(view: &View<'_>) -> Vec<Finding> {
    full(view, "conntrack", &["drop", "early_drop"], |max| {
        vec![
            doubled("netfilter/nf_conntrack_max", max),
            "conntrack -S".to_owned(),
        ]
    })
}

pub(super) fn neighbour_table(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (table, family) in [("arp", "ipv4"), ("ndisc", "ipv6")] {
        findings.extend(full(view, table, &["table_fulls"], |max| {
            // The two lower marks say when it is cleaned up, and belong below.
            [(1, 4), (2, 2), (3, 1)]
                .into_iter()
                .map(|(mark, part)| {
                    doubled(
                        &format!("{family}/neigh/default/gc_thresh{mark}"),
                        max / part,
                    )
                })
                .collect()
        }));
    }
    findings
}

/// A table that is nearly full, or whose counters say that it was.
fn full(
    view: &View<'_>,
    name: &str,
    counters: &[&str],
    commands: impl Fn(u64) -> Vec<String>,
) -> Vec<Finding> {
    let table = view.now.tables.as_ref().and_then(|tables| tables.get(name));
    let counted = view
        .counted
        .tables
        .as_ref()
        .and_then(|tables| tables.get(name));
    let (Some(table), Some(counted)) = (table, counted) else {
        return Vec::new();
    };
    let mut all: Vec<_> = counters
        .iter()
        .filter_map(|counter| {
            Some(evidence(
                format!("{name} {counter}"),
                *counted.counters.get(*counter)?,
            ))
        })
        .filter(|evidence| evidence.value > 0)
        .collect();
    if let (Some(entries), Some(max)) = (table.entries, table.max_entries)
        && (nearly_full(entries, max) || !all.is_empty())
    {
        all.push(evidence(format!("{name} entries"), entries));
        all.push(evidence(format!("{name} maximum"), max));
    }
    if all.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        subject: name.to_owned(),
        evidence: all,
        commands: table.max_entries.map(commands).unwrap_or_default(),
    }]
}
