//! NAPI polls as they happen: how many packets each device gives at a time, and how often it had more than it was allowed to give.
//!
//! The kernel counts no polls. So we do, with one small program of our own at its tracepoint `napi_poll`, for as long as
//! somebody looks; it is loaded by itself, without anything of the tracer, and keeps one line a device and CPU.

use std::collections::BTreeMap;

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, PerCpuArray, PerCpuHashMap},
    programs::RawTracePoint,
};
use serde::Serialize;
use trace_ebpf::{Offsets, PollCount, PollKey, PollOffsets};

use super::SectionError;
use crate::kernel::{btf::Btf, clock::monotonic_ns, netlink::text, netns};

const SECTION: &str = "softirq";
const WHAT: &str = "polls of devices, counted by our own program";
/// The program, compiled from trace-ebpf/src/polls.rs.
static OBJECT: &[u8] = include_bytes_aligned!("../../ebpf/polls.bpf.o");
const PROGRAM: &str = "count_poll";
const TRACEPOINT: &str = "napi_poll";

/// Polls that ended in a span of time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Polls {
    /// How long they were counted, in ns.
    pub interval_ns: u64,
    /// Devices that were polled, the busiest first.
    pub devices: Vec<Polled>,
    /// Polls of devices beyond the first 1024, which are not told apart.
    pub other_polls: u64,
}

/// A device's polls.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Polled {
    /// Its name; `backlog` for the CPUs' own queues, through which lo, veth and RPS go.
    pub device: String,
    /// Its index; none for the backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Name of its network namespace, or the inode number where it has none; none for the backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Polls that ended.
    pub polls: u64,
    /// Packets that they handled.
    pub packets: u64,
    /// Polls that used up their budget: there may have been more to handle.
    pub full_polls: u64,
}

/// A running count; the program is gone when it is dropped, or when we are killed.
pub struct Counter {
    devices: PerCpuHashMap<MapData, PollKey, PollCount>,
    others: PerCpuArray<MapData, PollCount>,
    since: (u64, BTreeMap<(u32, u32), PollCount>, u64),
    /// Keeps the program attached.
    _program: Ebpf,
}

impl Counter {
    /// Loads the program and attaches it.
    ///
    /// # Errors
    /// If the kernel refuses it, or we lack the privilege.
    pub fn start() -> Result<Self, SectionError> {
        let missing = |why: String| SectionError::new(SECTION, WHAT, why);
        let btf = Btf::from_kernel().map_err(|error| missing(error.to_string()))?;
        let offsets = offsets(&btf).map_err(missing)?;
        drop(btf);
        let mut program = attach(&offsets).map_err(|error| {
            let missing = missing(said(&*error));
            if rustix::process::geteuid().is_root() {
                missing
            } else {
                missing.remedy("run it as root")
            }
        })?;
        let mut map = |name: &'static str| {
            let map = program.take_map(name);
            map.ok_or_else(|| missing(format!("the object has no map {name}")))
        };
        let wrong = |error: aya::maps::MapError| missing(error.to_string());
        let mut counter = Self {
            devices: PerCpuHashMap::try_from(map("POLLS")?).map_err(wrong)?,
            others: PerCpuArray::try_from(map("OTHERS")?).map_err(wrong)?,
            since: (monotonic_ns(), BTreeMap::new(), 0),
            _program: program,
        };
        counter.take();
        Ok(counter)
    }

    /// What was counted since the last time, or since the start.
    pub fn take(&mut self) -> Polls {
        let now = monotonic_ns();
        let devices: BTreeMap<(u32, u32), PollCount> = self
            .devices
            .iter()
            .filter_map(Result::ok)
            .map(|(key, counts)| ((key.netns, key.ifindex), sum(counts.iter())))
            .collect();
        let others = self.others.get(&0, 0);
        let others = others.map_or(0, |counts| sum(counts.iter()).polls);
        let (then, before, before_others) =
            std::mem::replace(&mut self.since, (now, devices.clone(), others));
        let names = namespaces();
        let mut devices: Vec<Polled> = devices
            .into_iter()
            .filter_map(|(key, count)| {
                let before = before.get(&key).copied().unwrap_or_default();
                polled(key, count, before, &names)
            })
            .collect();
        devices.sort_by_key(|one| std::cmp::Reverse((one.packets, one.polls)));
        Polls {
            interval_ns: now.saturating_sub(then),
            devices,
            other_polls: others.saturating_sub(before_others),
        }
    }
}

/// All CPUs' counts together.
fn sum<'a>(counts: impl Iterator<Item = &'a PollCount>) -> PollCount {
    counts.fold(PollCount::default(), |sum, one| PollCount {
        polls: sum.polls.wrapping_add(one.polls),
        packets: sum.packets.wrapping_add(one.packets),
        full: sum.full.wrapping_add(one.full),
        // On a CPU that has not polled the device it is empty.
        name: if one.name[0] == 0 { sum.name } else { one.name },
    })
}

/// A device's growth; `None` if it was not polled.
fn polled(
    (inode, index): (u32, u32),
    now: PollCount,
    before: PollCount,
    names: &BTreeMap<u32, String>,
) -> Option<Polled> {
    let polls = now.polls.saturating_sub(before.polls);
    let of_device = index != 0;
    let netns = || names.get(&inode).cloned().unwrap_or(inode.to_string());
    (polls > 0).then(|| Polled {
        device: if of_device {
            text(&now.name)
        } else {
            "backlog".to_owned()
        },
        index: of_device.then_some(index),
        netns: (of_device && inode != 0).then(netns),
        polls,
        packets: now.packets.saturating_sub(before.packets),
        full_polls: now.full.saturating_sub(before.full),
    })
}

fn namespaces() -> BTreeMap<u32, String> {
    let mut names = netns::names();
    if let Some(host) = netns::host() {
        names.insert(host, netns::HOST.to_owned());
    }
    if let Some(own) = netns::own() {
        names.entry(own).or_insert_with(super::own_name);
    }
    names
}

fn offsets(btf: &Btf) -> Result<PollOffsets, String> {
    let optional = |strukt: &str, path: &str| {
        let member = btf.member(strukt, path);
        member.map_or(Offsets::ABSENT, |member| member.byte_offset)
    };
    let required = |strukt: &str, path: &str| match optional(strukt, path) {
        Offsets::ABSENT => Err(format!("this kernel's BTF lacks {strukt}.{path}")),
        offset => Ok(offset),
    };
    Ok(PollOffsets {
        napi_dev: required("napi_struct", "dev")?,
        dev_ifindex: required("net_device", "ifindex")?,
        dev_name: required("net_device", "name")?,
        dev_net: optional("net_device", "nd_net.net"),
        net_inum: optional("net", "ns.inum"),
    })
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn attach(offsets: &PollOffsets) -> Result<Ebpf, AnyError> {
    let mut ebpf = EbpfLoader::new()
        .override_global("OFFSETS", offsets, true)
        .load(OBJECT)?;
    let program: &mut RawTracePoint = ebpf
        .program_mut(PROGRAM)
        .ok_or("the object has no such program")?
        .try_into()?;
    program.load()?;
    program.attach(TRACEPOINT)?;
    Ok(ebpf)
}

/// What the kernel itself said: the innermost cause, in one line.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let innermost = causes.last().unwrap_or(error).to_string();
    innermost
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(polls: u64, packets: u64, full: u64, name: &str) -> PollCount {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        PollCount {
            polls,
            packets,
            full,
            name: bytes,
        }
    }

    #[test]
    fn cpus_are_added_up_and_what_was_before_is_left_out() {
        let now = sum([
            count(3, 70, 1, ""),
            count(2, 5, 0, "eth0"),
            count(0, 0, 0, ""),
        ]
        .iter());
        assert_eq!(now, count(5, 75, 1, "eth0"));
        let names = BTreeMap::from([(7, "blue".to_owned())]);
        let before = count(1, 64, 1, "eth0");
        let device = polled((7, 2), now, before, &names).unwrap();
        assert_eq!(
            device,
            Polled {
                device: "eth0".to_owned(),
                index: Some(2),
                netns: Some("blue".to_owned()),
                polls: 4,
                packets: 11,
                full_polls: 0,
            }
        );
        assert_eq!(polled((7, 2), now, now, &names), None);
        let backlog = polled((0, 0), now, before, &names).unwrap();
        assert_eq!((backlog.device.as_str(), backlog.index), ("backlog", None));
        assert_eq!(
            polled((9, 2), now, before, &names)
                .unwrap()
                .netns
                .as_deref(),
            Some("9")
        );
    }
}
