//! What the kernel itself counts, to compare with what a trace says.

use std::{collections::BTreeMap, fs};

use super::{LabError, Netns, run};

/// All protocol counters of a namespace, by the names that `nstat` gives them (`UdpNoPorts`, `IpInNoRoutes` …).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads them: `snmp` and `netstat` (two lines a group: names, values), `snmp6` (one line a counter).
    pub fn read(netns: &Netns) -> Result<Self, LabError> {
        let text = netns.enter(|| {
            let read = |file: &str| {
                // `/proc/net` would be the main thread's.
                let path = format!("/proc/thread-self/net/{file}");
                fs::read_to_string(&path).map_err(LabError::io(path))
            };
            Ok([read("snmp")? + &read("netstat")?, read("snmp6")?])
        })?;
        let mut counters = paired_lines(&text[0]);
        counters.extend(text[1].lines().filter_map(|line| {
            let (name, value) = line.split_once(char::is_whitespace)?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        }));
        Ok(Self(counters))
    }

    /// One counter; 0 when this kernel has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// How much a counter has grown since `earlier`.
    pub fn since(&self, earlier: &Self, name: &str) -> u64 {
        self.get(name).saturating_sub(earlier.get(name))
    }
}

/// Reads pairs of lines `Group: name name …` and `Group: value value …`.
fn paired_lines(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        let (Some((group, names)), Some((_, values))) =
            (pair[0].split_once(':'), pair[1].split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                counters.insert(format!("{group}{name}"), value);
            }
        }
    }
    counters
}

/// Packets a device of a namespace has received and sent.
pub fn device(netns: &Netns, device: &str) -> Result<(u64, u64), LabError> {
    let text = run(
        "ip",
        &[
            "-n",
            netns.name(),
            "-s",
            "-j",
            "link",
            "show",
            "dev",
            device,
        ],
        "",
    )?;
    let packets = |direction: &str| -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        value[0]["stats64"][direction]["packets"].as_u64()
    };
    packets("rx")
        .zip(packets("tx"))
        .ok_or_else(|| LabError::Traffic(format!("no counters in `{}`", text.trim())))
}

/// Packets that a device's root qdisc has dropped.
pub fn qdisc_drops(netns: &Netns, device: &str) -> Result<u64, LabError> {
    let text = run(
        "tc",
        &[
            "-n",
            netns.name(),
            "-s",
            "-j",
            "qdisc",
            "show",
            "dev",
            device,
        ],
        "",
    )?;
    let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    value
        .and_then(|value| value[0]["drops"].as_u64())
        .ok_or_else(|| LabError::Traffic(format!("no drops in `{}`", text.trim())))
}

/// Packets that the first `counter` of the namespace's nft ruleset has counted.
pub fn nft_counter(netns: &Netns) -> Result<u64, LabError> {
    let text = netns.exec("nft", &["list", "ruleset"])?;
    text.split_once("counter packets ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| LabError::Traffic(format!("no counter in `{}`", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paired_lines_are_named_as_nstat_does() {
        let counters =
            paired_lines("Udp: InDatagrams NoPorts\nUdp: 7 2\nIpExt: InNoRoutes\nIpExt: 4\n");
        assert_eq!(counters["UdpNoPorts"], 2);
        assert_eq!(counters["IpExtInNoRoutes"], 4);
    }
}
