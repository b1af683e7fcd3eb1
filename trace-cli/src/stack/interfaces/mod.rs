//! Interfaces: their counters, their qdiscs, and how their queues are spread over CPUs.
//!
//! Counters are netlink's 64-bit ones (`IFLA_STATS64`, what `ip -s` shows), which hold all that `/proc/net/dev` adds up; qdiscs
//! are of `RTM_GETQDISC` (what `tc -s` shows). RPS, XPS and threaded NAPI are in sysfs only.

mod parse;
mod queues;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    SectionError,
    files::Files,
    growth::{Growth, counter, counter32},
};
use crate::kernel::netlink::{Netlink, NetlinkError};

pub use parse::{link, qdisc};
pub use queues::{Napi, ReceiveQueue, TransmitQueue};

const SECTION: &str = "interfaces";
/// What is missing when nothing can be listed.
const LINKS: &str = "the list of links";
/// Of `linux/rtnetlink.h`.
const RTM_GETLINK: u16 = 18;
const RTM_GETQDISC: u16 = 38;
/// A list that changed while it was given out is asked for again this often; then it is taken as it is.
const TRIES: usize = 5;

/// The interfaces of a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Interfaces {
    /// By index.
    pub interfaces: Vec<Interface>,
    /// What could not be read.
    #[serde(skip)]
    pub missing: Vec<SectionError>,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What kind of virtual device it is (`veth`, `bridge`, …); cards have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Switched on.
    pub up: bool,
    /// The other end is there.
    pub carrier: bool,
    /// Largest packet, in bytes without the link-layer header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u32>,
    /// Link-layer address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Index of the bridge or bond that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_index: Option<u32>,
    /// `txqueuelen`, which some qdiscs take for their limit, in packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_packets: Option<u32>,
    /// `rtnl_link_stats64` by its names: `rx_packets`, `tx_dropped`, …, and `carrier_changes`.
    pub counters: BTreeMap<String, u64>,
    /// Its qdiscs, as `tc -s qdisc` lists them.
    pub qdiscs: Vec<Qdisc>,
    /// Queues and NAPI settings, if sysfs could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub napi: Option<Napi>,
}

/// A qdisc. Its packets and bytes count up in 64 bits, the other counters in 32 bits, which wrap.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Qdisc {
    /// `fq_codel`, `mq`, …
    pub kind: String,
    /// As tc writes it: `8001:`.
    pub handle: String,
    /// `root`, `ingress`, or the class that it hangs from: `:1`, `8001:2`.
    pub parent: String,
    /// Bytes sent on.
    pub bytes: u64,
    /// Packets sent on.
    pub packets: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Times that a packet had to wait for its rate.
    pub overlimits: u64,
    /// Times that the device refused a packet, which was queued again.
    pub requeues: u64,
    /// Packets waiting now.
    pub backlog_packets: u64,
    /// Bytes waiting now.
    pub backlog_bytes: u64,
}

impl Interface {
    /// A counter, if this kernel has it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }
}

impl Growth for Interfaces {
    fn since(&self, earlier: &Self) -> Self {
        let same = |now: &Interface| {
            let mut all = earlier.interfaces.iter();
            all.find(|before| (before.index, &before.name) == (now.index, &now.name))
        };
        Self {
            interfaces: self
                .interfaces
                .iter()
                .filter_map(|now| Some(now.since(same(now)?)))
                .collect(),
            missing: self.missing.clone(),
        }
    }
}

impl Growth for Interface {
    fn since(&self, earlier: &Self) -> Self {
        let same = |now: &Qdisc| {
            let mut all = earlier.qdiscs.iter();
            all.find(|before| {
                (&before.kind, &before.handle, &before.parent)
                    == (&now.kind, &now.handle, &now.parent)
            })
        };
        Self {
            counters: self.counters.since(&earlier.counters),
            qdiscs: self
                .qdiscs
                .iter()
                .filter_map(|now| Some(now.since(same(now)?)))
                .collect(),
            ..self.clone()
        }
    }
}

impl Growth for Qdisc {
    fn since(&self, before: &Self) -> Self {
        Self {
            bytes: counter(self.bytes, before.bytes),
            packets: counter(self.packets, before.packets),
            drops: counter32(self.drops, before.drops),
            overlimits: counter32(self.overlimits, before.overlimits),
            requeues: counter32(self.requeues, before.requeues),
            ..self.clone()
        }
    }
}

/// Reads them.
///
/// # Errors
/// If the kernel does not list the links. Qdiscs and sysfs may be missing.
pub fn read(files: &Files) -> Result<Interfaces, SectionError> {
    let mut netlink =
        Netlink::route().map_err(|error| SectionError::new(SECTION, LINKS, error.to_string()))?;
    let mut found = counters(&mut netlink)?;
    let (interfaces, missing) = (&mut found.interfaces, &mut found.missing);
    match files.sys().map(|sys| sys.join("class/net")) {
        Ok(class) if queues::shows(&class, interfaces) => {
            for interface in interfaces {
                interface.napi = Some(queues::read(&class.join(&interface.name)));
            }
        }
        Ok(_) => missing.push(
            SectionError::new(
                SECTION,
                "RPS, XPS and NAPI settings of queues",
                "/sys shows another network namespace",
            )
            .remedy("name the namespace with --netns"),
        ),
        Err(why) => missing.push(SectionError::new(
            SECTION,
            "RPS, XPS and NAPI settings of queues",
            why,
        )),
    }
    Ok(found)
}

/// The interfaces of the namespace that `netlink` was opened in, with their counters and qdiscs: without what only sysfs says.
///
/// # Errors
/// If the kernel does not list the links. Qdiscs may be missing.
pub fn counters(netlink: &mut Netlink) -> Result<Interfaces, SectionError> {
    let failed =
        |what: &str, error: &NetlinkError| SectionError::new(SECTION, what, error.to_string());
    let mut missing = Vec::new();
    let mut interfaces = list(netlink, RTM_GETLINK, &[0; parse::LINK_HEADER], link)
        .map_err(|error| failed(LINKS, &error))?;
    interfaces.sort_by_key(|interface| interface.index);
    match list(netlink, RTM_GETQDISC, &[0; parse::QDISC_HEADER], qdisc) {
        Ok(qdiscs) => {
            for (index, qdisc) in qdiscs {
                let mut all = interfaces.iter_mut();
                if let Some(interface) = all.find(|interface| interface.index == index) {
                    interface.qdiscs.push(qdisc);
                }
            }
        }
        Err(error) => missing.push(failed("the list of qdiscs", &error)),
    }
    Ok(Interfaces {
        interfaces,
        missing,
    })
}

/// All that the kernel lists and we understand.
fn list<T>(
    netlink: &mut Netlink,
    kind: u16,
    request: &[u8],
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, NetlinkError> {
    let mut found = Vec::new();
    for _ in 0..TRIES {
        found.clear();
        let dump = netlink.dump(kind, request, |payload| found.extend(parse(payload)))?;
        if !dump.interrupted {
            break;
        }
    }
    Ok(found)
}
