//! Socket memory: what sockets hold, against the marks at which the kernel begins to refuse.
//!
//! `/proc/net/sockstat` (`net/ipv4/proc.c`) and `sockstat6` (`net/ipv6/proc.c`). Numbers of sockets are the namespace's, but
//! memory, `orphan` and `alloc` are the whole machine's.

use std::collections::BTreeMap;

use rustix::param::page_size;
use serde::{Deserialize, Serialize};

use super::{SectionError, files::Files, growth::Growth};

const SECTION: &str = "sockets";
/// Limits that are one number: bytes or counts, as the kernel's ip-sysctl.rst says.
const LIMITS: &[&str] = &[
    "core/rmem_default",
    "core/rmem_max",
    "core/wmem_default",
    "core/wmem_max",
    "core/optmem_max",
    "core/somaxconn",
    "ipv4/tcp_max_orphans",
    "ipv4/tcp_max_tw_buckets",
    "ipv4/tcp_max_syn_backlog",
    "ipv4/udp_rmem_min",
    "ipv4/udp_wmem_min",
    "ipv4/ipfrag_high_thresh",
    "ipv4/ipfrag_low_thresh",
    "ipv6/ip6frag_high_thresh",
    "ipv6/ip6frag_low_thresh",
];

/// Socket memory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sockets {
    /// Sockets of all families in this namespace.
    pub used: u64,
    /// One for each protocol of sockstat and sockstat6.
    pub protocols: Vec<Protocol>,
    /// Memory of a protocol's sockets, on the whole machine, and its marks.
    pub memory: Vec<Memory>,
    /// Least, default and most bytes of a TCP socket's receive buffer (`tcp_rmem`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_receive_buffer: Option<Buffer>,
    /// Least, default and most bytes of a TCP socket's send buffer (`tcp_wmem`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_send_buffer: Option<Buffer>,
    /// Other limits, by the names of their sysctls below `net`; those called `mem` or `thresh` are bytes.
    pub limits: BTreeMap<String, i64>,
    /// What could not be read.
    #[serde(skip)]
    pub missing: Vec<SectionError>,
}

/// A line of sockstat.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Protocol {
    /// As the kernel names it: `TCP`, `UDP6`, `FRAG`, …
    pub name: String,
    /// Sockets in use; of fragments, queues.
    pub in_use: u64,
    /// Sockets that no process holds any more, but whose connection is not over. The whole machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<u64>,
    /// Connections in TIME-WAIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_wait: Option<u64>,
    /// Sockets that memory was allocated for. The whole machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocated: Option<u64>,
    /// Memory that they hold. Of sockets it is the whole machine's, in whole pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A protocol's memory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Memory {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Held now.
    pub used_bytes: u64,
    /// Below, nothing is done.
    pub low_bytes: u64,
    /// Above, buffers are kept small.
    pub pressure_bytes: u64,
    /// Above, nothing more is given.
    pub high_bytes: u64,
}

/// Sizes of a buffer that the kernel adjusts by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Buffer {
    /// What a socket always gets.
    pub min_bytes: u64,
    /// What it starts with.
    pub default_bytes: u64,
    /// What it can grow to.
    pub max_bytes: u64,
}

impl Sockets {
    /// A protocol's line.
    pub fn protocol(&self, name: &str) -> Option<&Protocol> {
        self.protocols.iter().find(|one| one.name == name)
    }
}

/// Nothing here is a counter.
impl Growth for Sockets {
    fn since(&self, _: &Self) -> Self {
        self.clone()
    }
}

/// Reads it.
///
/// # Errors
/// If there is no `sockstat`, or it is not as we know it. The memory marks are the first namespace's only.
pub fn read(files: &Files) -> Result<Sockets, SectionError> {
    let text = files
        .net("sockstat")
        .map_err(|error| SectionError::io(SECTION, "/proc/net/sockstat", &error))?;
    let page = page_size() as u64;
    let (used, mut protocols) = parse(&text, page);
    let used = used.ok_or_else(|| {
        SectionError::new(SECTION, "/proc/net/sockstat", "has no line `sockets: used`")
    })?;
    let mut missing = Vec::new();
    match files.net("sockstat6") {
        Ok(text) => protocols.extend(parse(&text, page).1),
        Err(error) => missing.push(SectionError::io(SECTION, "/proc/net/sockstat6", &error)),
    }
    let mut memory = Vec::new();
    for (protocol, sysctl) in [("TCP", "ipv4/tcp_mem"), ("UDP", "ipv4/udp_mem")] {
        let used = protocols
            .iter()
            .find(|one| one.name == protocol)
            .and_then(|one| one.memory_bytes);
        match (used, files.numbers(sysctl).as_deref()) {
            (Some(used_bytes), Some(&[low, pressure, high])) => memory.push(Memory {
                protocol: protocol.to_owned(),
                used_bytes,
                low_bytes: low.saturating_mul(page),
                pressure_bytes: pressure.saturating_mul(page),
                high_bytes: high.saturating_mul(page),
            }),
            _ => missing.push(SectionError::new(
                SECTION,
                format!("memory marks of {protocol} (net/{sysctl})"),
                "only the machine's first network namespace shows them",
            )),
        }
    }
    let buffer = |name| match files.numbers(name).as_deref() {
        Some(&[min_bytes, default_bytes, max_bytes]) => Some(Buffer {
            min_bytes,
            default_bytes,
            max_bytes,
        }),
        _ => None,
    };
    Ok(Sockets {
        used,
        protocols,
        memory,
        tcp_receive_buffer: buffer("ipv4/tcp_rmem"),
        tcp_send_buffer: buffer("ipv4/tcp_wmem"),
        limits: files.settings(LIMITS),
        missing,
    })
}

/// Lines `NAME: word number word number …`: the number of sockets, if it is there, and the protocols. Words that we do not know
/// are passed over. `mem` is in pages of this size, `memory` in bytes.
pub fn parse(text: &str, page_bytes: u64) -> (Option<u64>, Vec<Protocol>) {
    let mut used = None;
    let mut protocols = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let of = |wanted: &str| {
            let mut pairs = words.chunks_exact(2);
            pairs.find(|pair| pair[0] == wanted)?[1].parse::<u64>().ok()
        };
        if name == "sockets" {
            used = of("used");
        } else if let Some(in_use) = of("inuse") {
            protocols.push(Protocol {
                name: name.to_owned(),
                in_use,
                orphans: of("orphan"),
                time_wait: of("tw"),
                allocated: of("alloc"),
                memory_bytes: of("mem")
                    .map(|pages| pages.saturating_mul(page_bytes))
                    .or_else(|| of("memory")),
            });
        }
    }
    (used, protocols)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOCKSTAT: &str = "\
sockets: used 22
TCP: inuse 5 orphan 1 tw 2 alloc 9 mem 217
UDP: inuse 3 mem 107
RAW: inuse 0
FRAG: inuse 1 memory 4096
NEW: inuse 1 later 7
";

    #[test]
    fn memory_is_in_bytes() {
        let (used, protocols) = parse(SOCKSTAT, 4096);
        assert_eq!(used, Some(22));
        assert_eq!(
            protocols[0],
            Protocol {
                name: "TCP".to_owned(),
                in_use: 5,
                orphans: Some(1),
                time_wait: Some(2),
                allocated: Some(9),
                memory_bytes: Some(217 * 4096),
            }
        );
        assert_eq!(protocols[1].memory_bytes, Some(107 * 4096));
        assert_eq!(
            (protocols[2].memory_bytes, protocols[2].orphans),
            (None, None)
        );
        assert_eq!(protocols[3].memory_bytes, Some(4096));
        assert_eq!(protocols[4].in_use, 1);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".*", cut in 0..SOCKSTAT.len(), page in any::<u64>()) {
            parse(&text, page);
            let (_, whole) = parse(SOCKSTAT, 4096);
            let (_, part) = parse(&SOCKSTAT[..cut], 4096);
            for (part, whole) in part.iter().rev().skip(1).rev().zip(&whole) {
                prop_assert_eq!(part, whole);
            }
        }
    }
}
