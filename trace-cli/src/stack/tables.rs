//! Tables that can be full: connection tracking and neighbours.
//!
//! Connection tracking: `net/netfilter/nf_conntrack_count` and `_max`, and `/proc/net/stat/nf_conntrack`. Neighbours:
//! `/proc/net/stat/arp_cache` and `ndisc_cache` (`net/core/neighbour.c`), which the first namespace shows for all.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    SectionError,
    files::Files,
    growth::{Growth, counter32},
};

const SECTION: &str = "tables";
/// Columns of the files that are no counters.
const GAUGE: &str = "entries";

/// Tables that can be full.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tables {
    /// By name: `conntrack`, `arp`, `ndisc`; those there are.
    pub tables: Vec<Table>,
    /// What could not be read.
    #[serde(skip)]
    pub missing: Vec<SectionError>,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Table {
    /// Which one.
    pub name: String,
    /// Entries in it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Entries that it can hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u64>,
    /// What the kernel counts of it, on all CPUs together, by its names: `drop`, `early_drop`, `insert_failed`,
    /// `table_fulls`, … Counters of 32 bits, which wrap.
    pub counters: BTreeMap<String, u64>,
}

impl Tables {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl Growth for Tables {
    fn since(&self, earlier: &Self) -> Self {
        let growth = |now: &Table| {
            let before = earlier.get(&now.name)?;
            let counters = now.counters.iter().filter_map(|(name, now)| {
                Some((name.clone(), counter32(*now, *before.counters.get(name)?)))
            });
            Some(Table {
                counters: counters.collect(),
                ..now.clone()
            })
        };
        Self {
            tables: self.tables.iter().filter_map(growth).collect(),
            missing: self.missing.clone(),
        }
    }
}

/// Reads them. A table that this kernel or namespace does not have is named as missing.
///
/// # Errors
/// None of its own: every table is optional.
pub fn read(files: &Files) -> Result<Tables, SectionError> {
    let mut found = Tables {
        tables: Vec::new(),
        missing: Vec::new(),
    };
    for (name, file, entries, max) in [
        (
            "conntrack",
            "stat/nf_conntrack",
            Some("netfilter/nf_conntrack_count"),
            "netfilter/nf_conntrack_max",
        ),
        (
            "arp",
            "stat/arp_cache",
            None,
            "ipv4/neigh/default/gc_thresh3",
        ),
        (
            "ndisc",
            "stat/ndisc_cache",
            None,
            "ipv6/neigh/default/gc_thresh3",
        ),
    ] {
        let statistics = files.net(file).map(|text| parse(&text));
        let counted = entries.and_then(|entries| files.number(entries));
        let max_entries = files.number(max);
        match statistics {
            Ok((listed, counters)) => found.tables.push(Table {
                name: name.to_owned(),
                entries: counted.or(listed),
                max_entries,
                counters,
            }),
            Err(_) if counted.is_some() => found.tables.push(Table {
                name: name.to_owned(),
                entries: counted,
                max_entries,
                counters: BTreeMap::new(),
            }),
            Err(error) => found.missing.push(SectionError::io(
                SECTION,
                format!("{name}: /proc/net/{file}"),
                &error,
            )),
        }
    }
    Ok(found)
}

/// A line of names, then one of hexadecimal numbers for each CPU: the entries, which every line repeats, and the sums of all else.
pub fn parse(text: &str) -> (Option<u64>, BTreeMap<String, u64>) {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut entries = None;
    let mut counters = BTreeMap::new();
    for line in lines {
        for (name, word) in names.iter().zip(line.split_whitespace()) {
            let Ok(value) = u64::from_str_radix(word, 16) else {
                continue;
            };
            if *name == GAUGE {
                entries = Some(value);
            } else {
                let sum: &mut u64 = counters.entry((*name).to_owned()).or_default();
                *sum = sum.wrapping_add(value);
            }
        }
    }
    (entries, counters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARP: &str = "\
entries  allocs   table_fulls
0000001a 000005ec 00000001
0000001a 00000001 0000000f
";

    #[test]
    fn counters_are_summed_and_entries_are_not() {
        let (entries, counters) = parse(ARP);
        assert_eq!(entries, Some(26));
        assert_eq!(counters["allocs"], 0x5ed);
        assert_eq!(counters["table_fulls"], 16);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".*", cut in 0..ARP.len()) {
            parse(&text);
            parse(&ARP[..cut]);
        }
    }
}
