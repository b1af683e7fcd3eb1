//! NAPI and softirq: how each CPU takes packets from the cards, and where it could not keep up.
//!
//! `/proc/net/softnet_stat` (`net/core/net-procfs.c`) has a line for each CPU that is online, of hexadecimal columns without
//! titles; releases add columns on the right. Kernels before 5.10 do not say which CPU a line is of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    SectionError,
    files::Files,
    growth::{Growth, counter32},
};

const SECTION: &str = "softirq";
/// Settings below `net` that make the difference here.
const SETTINGS: &[&str] = &[
    "core/netdev_budget",
    "core/netdev_budget_usecs",
    "core/netdev_max_backlog",
    "core/dev_weight",
    "core/gro_normal_batch",
    "core/busy_poll",
    "core/busy_read",
    "core/rps_sock_flow_entries",
    "core/flow_limit_table_len",
];

/// NAPI and softirq, of the whole machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Softirq {
    /// Each CPU that is online.
    pub cpus: Vec<Cpu>,
    /// Settings, by the names of their sysctls below `net`: `netdev_budget` in packets, `…_usecs`, `busy_…` in µs,
    /// `netdev_max_backlog` in packets. Only the machine's first network namespace has all of them.
    pub settings: BTreeMap<String, i64>,
    /// CPUs whose backlog limits single flows (`flow_limit_cpu_bitmap`), as the kernel writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_limit_cpus: Option<String>,
}

impl Softirq {
    /// Whether the machine's settings could be seen.
    pub fn has_budget(&self) -> bool {
        self.settings.contains_key("core/netdev_budget")
    }
}

/// A CPU's line of softnet_stat. Counters of 32 bits, which wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// Which CPU.
    pub cpu: u32,
    /// Packets handled, of all that came through the stack's receive side here.
    pub processed: u64,
    /// Packets dropped because the CPU's backlog was full or a flow had too much of it.
    pub dropped: u64,
    /// Times that a softirq ended with work left, because budget or time was used up.
    pub time_squeeze: u64,
    /// Times that another CPU asked this one to handle packets (RPS).
    pub received_rps: u64,
    /// Packets dropped because their flow had too much of the backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_limited: Option<u64>,
    /// Packets in the backlog now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_packets: Option<u64>,
    /// Receive softirqs run, of `/proc/softirqs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rx: Option<u64>,
    /// Transmit softirqs run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_tx: Option<u64>,
}

impl Growth for Softirq {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            cpus: self
                .cpus
                .iter()
                .filter_map(|now| {
                    let before = earlier.cpus.iter().find(|before| before.cpu == now.cpu)?;
                    Some(now.since(before))
                })
                .collect(),
            ..self.clone()
        }
    }
}

impl Growth for Cpu {
    fn since(&self, before: &Self) -> Self {
        let optional = |now: Option<u64>, before: Option<u64>| Some(counter32(now?, before?));
        Self {
            cpu: self.cpu,
            processed: counter32(self.processed, before.processed),
            dropped: counter32(self.dropped, before.dropped),
            time_squeeze: counter32(self.time_squeeze, before.time_squeeze),
            received_rps: counter32(self.received_rps, before.received_rps),
            flow_limited: optional(self.flow_limited, before.flow_limited),
            backlog_packets: self.backlog_packets,
            net_rx: optional(self.net_rx, before.net_rx),
            net_tx: optional(self.net_tx, before.net_tx),
        }
    }
}

/// Reads it.
///
/// # Errors
/// If there is no softnet_stat, or it does not say which CPU a line is of.
pub fn read(files: &Files) -> Result<Softirq, SectionError> {
    let text = files
        .net("softnet_stat")
        .map_err(|error| SectionError::io(SECTION, "/proc/net/softnet_stat", &error))?;
    let mut cpus = parse(&text).ok_or_else(|| {
        SectionError::new(
            SECTION,
            "/proc/net/softnet_stat",
            "not as Linux 5.10 or later writes it",
        )
    })?;
    if let Ok(text) = files.proc("softirqs") {
        for (name, counts) in parse_softirqs(&text) {
            for cpu in &mut cpus {
                let count = counts.get(&cpu.cpu).copied();
                match name {
                    "NET_RX" => cpu.net_rx = count,
                    "NET_TX" => cpu.net_tx = count,
                    _ => {}
                }
            }
        }
    }
    Ok(Softirq {
        cpus,
        settings: files.settings(SETTINGS),
        flow_limit_cpus: files
            .sysctl("core/flow_limit_cpu_bitmap")
            .ok()
            .map(|text| text.trim().to_owned()),
    })
}

/// One CPU a line; `None` if a line has not the columns of Linux 5.10, or no line is there.
pub fn parse(text: &str) -> Option<Vec<Cpu>> {
    let cpus: Option<Vec<Cpu>> = text
        .lines()
        .map(|line| {
            let columns: Option<Vec<u64>> = line
                .split_whitespace()
                .map(|word| u32::from_str_radix(word, 16).ok().map(u64::from))
                .collect();
            let columns = columns?;
            Some(Cpu {
                processed: *columns.first()?,
                dropped: *columns.get(1)?,
                time_squeeze: *columns.get(2)?,
                received_rps: *columns.get(9)?,
                flow_limited: columns.get(10).copied(),
                backlog_packets: columns.get(11).copied(),
                cpu: u32::try_from(*columns.get(12)?).ok()?,
                net_rx: None,
                net_tx: None,
            })
        })
        .collect();
    cpus.filter(|cpus| !cpus.is_empty())
}

/// `/proc/softirqs`: a line of CPUs, then `NAME: count count …`.
pub fn parse_softirqs(text: &str) -> impl Iterator<Item = (&str, BTreeMap<u32, u64>)> {
    let mut lines = text.lines();
    let cpus = super::interrupts::heading(lines.next().unwrap_or_default());
    lines.filter_map(move |line| {
        let (name, counts) = line.split_once(':')?;
        let counts = counts
            .split_whitespace()
            .map_while(|word| word.parse().ok());
        Some((name.trim(), cpus.iter().copied().zip(counts).collect()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18, and 5.10 whose lines end with the CPU.
    const NOW: &str = "\
004f19b1 00000002 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000005 00000006 00000007 00000000 00000003 00000004
0036a3f7 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003 00000000 00000000
";

    #[test]
    fn columns_of_each_cpu() {
        let cpus = parse(NOW).unwrap();
        assert_eq!(
            cpus[0],
            Cpu {
                cpu: 0,
                processed: 0x4f19b1,
                dropped: 2,
                time_squeeze: 1,
                received_rps: 5,
                flow_limited: Some(6),
                backlog_packets: Some(7),
                net_rx: None,
                net_tx: None,
            }
        );
        // CPUs that are offline have no line.
        assert_eq!(cpus[1].cpu, 3);
        let old: String = NOW
            .lines()
            .map(|line| line[..9 * 13 - 1].to_owned() + "\n")
            .collect();
        assert_eq!(parse(&old).unwrap(), cpus);
        let later: String = NOW
            .lines()
            .map(|line| line.to_owned() + " 00000001 00000002\n")
            .collect();
        assert_eq!(parse(&later).unwrap(), cpus);
        assert_eq!(parse("004f19b1 00000000\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn softirqs_by_cpu() {
        let text = "                    CPU0       CPU2\n          HI:          0          1\n      NET_RX:    5 7\n";
        let all: BTreeMap<_, _> = parse_softirqs(text).collect();
        assert_eq!(all["NET_RX"], BTreeMap::from([(0, 5), (2, 7)]));
    }

    #[test]
    fn counters_wrap() {
        let cpu = |processed| Cpu {
            processed,
            ..Cpu::default()
        };
        assert_eq!(cpu(3).since(&cpu(u64::from(u32::MAX))).processed, 4);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".*", cut in 0..NOW.len()) {
            parse(&text);
            parse_softirqs(&text).count();
            // Cut within a line, it is refused or has whole lines only.
            if let Some(cpus) = parse(&NOW[..cut]) {
                prop_assert!(cpus.len() <= 2);
            }
        }
    }
}
