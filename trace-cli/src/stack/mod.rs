//! The host's network stack at a glance: counters and settings, read from the kernel's own files and netlink.
//!
//! One directory or file a section. A section is plain data with units in its field names, and has two halves: a pure parser
//! of what the kernel wrote, and `read`, which fetches it. What a kernel, a namespace or our privileges do not give is a
//! [`SectionError`] by name, never a made-up zero.
//!
//! Counters only grow; [`Snapshot::since`] makes of two snapshots a third one, whose counters are the growth between them
//! and whose other values are those of the later one.

pub mod advice;
pub mod connections;
mod error;
pub mod files;
pub mod growth;
pub mod interfaces;
pub mod interrupts;
pub mod meanwhile;
pub mod nic;
pub mod polls;
pub mod protocols;
pub mod sockets;
pub mod softirq;
pub mod tables;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use error::SectionError;
use files::Files;
use growth::Growth;

use crate::kernel::{
    clock::monotonic_ns,
    netns::{self, NetnsError},
};

/// Which network namespaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// That of this process.
    Own,
    /// These: names, or paths of files that stand for one.
    Named(Vec<String>),
    /// All that have a name or a process.
    All,
}

/// A part of the stack, as it is named on the command line and in messages.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Section {
    /// Sockets, as ss; listeners with their backlog
    Connections,
    /// Network cards, as ethtool; drivers' counters that mean loss
    Nic,
    /// Socket memory, and its limits
    Sockets,
    /// NAPI and softirq: what each CPU took in, and where it could not keep up
    Softirq,
    /// Interrupts of cards, and their CPUs
    Interrupts,
    /// Interfaces and qdiscs
    Interfaces,
    /// Tables that can be full: connection tracking, neighbours
    Tables,
    /// Protocol counters, as nstat
    Protocols,
    /// What is wrong, how it is known, and what would change it
    Advice,
}

impl Section {
    /// As it is typed, and named in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Softirq => "softirq",
            Self::Nic => nic::SECTION,
            Self::Connections => connections::SECTION,
            Self::Interrupts => "interrupts",
            Self::Interfaces => "interfaces",
            Self::Tables => "tables",
            Self::Protocols => "protocols",
            Self::Advice => "advice",
        }
    }
}

/// The stack at one moment, and what changed since an earlier one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// As it is.
    pub now: Snapshot,
    /// What changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Change>,
    /// What is wrong with it.
    pub advice: Vec<advice::Advice>,
}

/// What changed between two snapshots.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Change {
    /// The time between them, in ns.
    pub interval_ns: u64,
    /// Counters are their growth.
    pub of: Snapshot,
}

impl Report {
    /// Compares with an earlier snapshot, if there is one, and judges.
    pub fn new(now: Snapshot, earlier: Option<&Snapshot>) -> Self {
        let report = Self::compare(now, earlier);
        Self {
            advice: advice::advise(&report),
            ..report
        }
    }

    fn compare(now: Snapshot, earlier: Option<&Snapshot>) -> Self {
        let growth = earlier.map(|earlier| Change {
            interval_ns: now.taken_ns.saturating_sub(earlier.taken_ns),
            of: now.since(earlier),
        });
        Self {
            now,
            growth,
            advice: Vec::new(),
        }
    }
}

/// The stack at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Snapshot {
    /// When reading began, in ns of the monotonic clock.
    pub taken_ns: u64,
    /// What the whole machine shares.
    pub machine: Machine,
    /// What there is for each network namespace.
    pub namespaces: Vec<Namespace>,
}

/// What the whole machine shares, whatever the namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Machine {
    /// NAPI and softirq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softirq: Option<softirq::Softirq>,
    /// Polls, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polls: Option<polls::Polls>,
    /// What could not be read.
    pub missing: Vec<SectionError>,
}

/// One network namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Namespace {
    /// As `ip netns` calls it; `host` for that of process 1; else `pid N`, one that is in it.
    pub name: String,
    /// Its inode number, 0 when it is not known.
    pub inode: u32,
    /// Sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<connections::Connections>,
    /// Network cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nic: Option<nic::Nics>,
    /// Socket memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<sockets::Sockets>,
    /// Interrupts of cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<interrupts::Interrupts>,
    /// Interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<interfaces::Interfaces>,
    /// Tables that can be full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<tables::Tables>,
    /// Protocol counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<protocols::Protocols>,
    /// What could not be read.
    pub missing: Vec<SectionError>,
}

impl Snapshot {
    /// Reads everything.
    ///
    /// # Errors
    /// If a namespace cannot be entered. What cannot be read inside of one is among its [`missing`](Namespace::missing).
    pub fn read(scope: &Scope) -> Result<Self, NetnsError> {
        let taken_ns = monotonic_ns();
        let machine = Machine::read(&Files::system());
        let mut namespaces: Vec<Namespace> = match scope {
            Scope::Own => vec![Namespace::read(own_name(), &Files::system())],
            Scope::Named(names) => names
                .iter()
                .map(|name| netns::enter(name, || Namespace::read(name.clone(), &Files::entered())))
                .collect::<Result<_, _>>()?,
            Scope::All => all()
                .into_iter()
                // A namespace may be gone before it is entered.
                .filter_map(|(name, path)| {
                    netns::enter(&path, || Namespace::read(name, &Files::entered())).ok()
                })
                .collect(),
        };
        let lists = namespaces.iter_mut();
        connections::find_owners(lists.filter_map(|one| one.connections.as_mut()));
        Ok(Self {
            taken_ns,
            machine,
            namespaces,
        })
    }

    /// What changed since an earlier snapshot; namespaces that were not there then are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            taken_ns: self.taken_ns,
            machine: self.machine.since(&earlier.machine),
            namespaces: self
                .namespaces
                .iter()
                .filter_map(|now| {
                    let before = earlier
                        .namespaces
                        .iter()
                        .find(|before| (before.inode, &before.name) == (now.inode, &now.name))?;
                    Some(now.since(before))
                })
                .collect(),
        }
    }
}

impl Namespace {
    /// Reads the calling thread's namespace.
    fn read(name: String, files: &Files) -> Self {
        let mut missing = Vec::new();
        let mut sockets = kept(sockets::read(files), &mut missing);
        let mut interfaces = kept(interfaces::read(files), &mut missing);
        let names: Vec<&str> = interfaces
            .iter()
            .flat_map(|all| &all.interfaces)
            .map(|interface| interface.name.as_str())
            .collect();
        let mut interrupts = kept(interrupts::read(files, &names), &mut missing);
        let mut tables = kept(tables::read(files), &mut missing);
        let protocols = kept(protocols::read(files), &mut missing);
        let connections = kept(connections::read(files), &mut missing);
        let nic = kept(nic::read(), &mut missing);
        let parts = [
            sockets.as_mut().map(|section| &mut section.missing),
            interrupts.as_mut().map(|section| &mut section.missing),
            interfaces.as_mut().map(|section| &mut section.missing),
            tables.as_mut().map(|section| &mut section.missing),
        ];
        missing.extend(parts.into_iter().flatten().flat_map(std::mem::take));
        Self {
            name,
            inode: netns::own().unwrap_or(0),
            sockets,
            interrupts,
            nic,
            interfaces,
            connections,
            tables,
            protocols,
            missing,
        }
    }
}

impl Machine {
    fn read(files: &Files) -> Self {
        let mut missing = Vec::new();
        let softirq = kept(softirq::read(files), &mut missing);
        if softirq
            .as_ref()
            .is_some_and(|softirq| !softirq.has_budget())
        {
            missing.push(SectionError::new(
                Section::Softirq.name(),
                "settings below net.core",
                "only the machine's first network namespace shows them",
            ));
        }
        Self {
            softirq,
            polls: None,
            missing,
        }
    }
}

impl Growth for Machine {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            softirq: self.softirq.since(&earlier.softirq),
            // Those of the interval already.
            polls: None,
            missing: self.missing.clone(),
        }
    }
}

impl Growth for Namespace {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            name: self.name.clone(),
            inode: self.inode,
            connections: self.connections.since(&earlier.connections),
            nic: self.nic.since(&earlier.nic),
            sockets: self.sockets.since(&earlier.sockets),
            interrupts: self.interrupts.since(&earlier.interrupts),
            interfaces: self.interfaces.since(&earlier.interfaces),
            tables: self.tables.since(&earlier.tables),
            protocols: self.protocols.since(&earlier.protocols),
            missing: self.missing.clone(),
        }
    }
}

/// A section, or a note that it is missing.
fn kept<T>(section: Result<T, SectionError>, missing: &mut Vec<SectionError>) -> Option<T> {
    section.map_err(|error| missing.push(error)).ok()
}

/// What our own namespace is called.
fn own_name() -> String {
    let Some(own) = netns::own() else {
        return "own".to_owned();
    };
    if netns::host() == Some(own) {
        return netns::HOST.to_owned();
    }
    netns::names()
        .remove(&own)
        .unwrap_or_else(|| "own".to_owned())
}

/// All namespaces that have a name or a process: what to call them, and a file that stands for each.
fn all() -> Vec<(String, String)> {
    let names = netns::names();
    let (host, own) = (netns::host(), netns::own());
    let mut found: Vec<(String, String)> = Vec::new();
    for (inode, pid) in netns::processes() {
        let path = format!("/proc/{pid}/ns/net");
        if Some(inode) == host {
            found.insert(0, (netns::HOST.to_owned(), path));
        } else if Some(inode) == own {
            found.insert(0, (own_name(), path));
        } else if !names.contains_key(&inode) {
            found.push((format!("pid {pid}"), path));
        }
    }
    for (inode, name) in names {
        if Some(inode) != host && Some(inode) != own {
            found.push((name.clone(), name));
        }
    }
    found
}
