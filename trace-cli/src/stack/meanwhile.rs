//! What the kernel counts at one moment of a trace, and what it counted between two: the counters that a journey's numbers
//! stand beside.
//!
//! It must cost a trace next to nothing: a few small files and one netlink list, no look at every socket or process. What is
//! read at the end is opened at the beginning, when the privileges for it are still there. Files are held by their place
//! (`O_PATH`), which does not keep a namespace from going away; a netlink socket does, so it is held only in our own
//! namespace and in those that were asked for.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

use rustix::{fs::OFlags, param::page_size};
use serde::{Deserialize, Serialize};

use super::{
    SectionError,
    growth::{Growth, counter},
    interfaces::{self, Interface},
    protocols::{self, Protocols},
    sockets,
    softirq::{self, Cpu},
};
use crate::kernel::{
    clock::monotonic_ns,
    netlink::Netlink,
    netns::{self, NetnsError},
};

/// What the parts are called where one is missing.
const SECTION: &str = "meanwhile";
/// Namespaces that were not asked for are read up to this number.
const MOST: usize = 16;
/// Files of protocol counters (see [`protocols`]) and of sockets.
const COUNTERS: [(&str, Parse); 4] = [
    ("snmp", protocols::pairs),
    ("netstat", protocols::pairs),
    ("snmp6", protocols::lines),
    ("sctp/snmp", protocols::lines),
];
const SOCKETS: [&str; 2] = ["sockstat", "sockstat6"];
/// No file that we read is longer; what is, is cut.
const LONGEST: u64 = 1 << 20;

/// How a file of counters is read.
type Parse = fn(&str, &mut Protocols);

/// What the kernel counts, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// When reading began, in ns of the monotonic clock.
    pub taken_ns: u64,
    /// Each CPU that is online.
    pub cpus: Vec<Cpu>,
    /// Those asked for, or with none asked for our own and all that have a name.
    pub namespaces: Vec<Namespace>,
    /// What could not be read.
    pub missing: Vec<SectionError>,
}

/// What it counts in one network namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Namespace {
    /// As `stack` names it.
    pub name: String,
    /// Its inode number.
    pub inode: u32,
    /// Protocol counters, by the names that nstat gives them; those that are not zero.
    pub protocols: BTreeMap<String, u64>,
    /// Sockets and their memory, a line of sockstat each.
    pub sockets: Vec<sockets::Protocol>,
    /// Interfaces and qdiscs; none where they were not read.
    pub interfaces: Vec<Interface>,
}

/// What it counted between two moments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meanwhile {
    /// The first moment, in ns of the monotonic clock.
    pub start_ns: u64,
    /// The second one.
    pub end_ns: u64,
    /// CPUs that counted something: what they counted.
    pub cpus: Vec<Cpu>,
    /// Namespaces that were there at both moments.
    pub namespaces: Vec<Counted>,
    /// What could not be read at the second moment.
    pub missing: Vec<SectionError>,
}

/// What it counted in one network namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Its inode number.
    pub inode: u32,
    /// Protocol counters that grew: by how much.
    pub protocols: BTreeMap<String, u64>,
    /// Sockets at the first moment, and at the second.
    pub sockets: [Vec<sockets::Protocol>; 2],
    /// Interfaces that counted something: counters are what they grew by.
    pub interfaces: Vec<Interface>,
}

impl Meanwhile {
    /// What was counted from the one moment to the other.
    ///
    /// Only of the wanted namespaces, if any are named.
    pub fn between(start: &Moment, end: &Moment, wanted: &[String]) -> Self {
        let is_wanted = |one: &&Namespace| {
            let mut all = wanted.iter();
            wanted.is_empty() || all.any(|wanted| netns::is(wanted, one.inode, Some(&one.name)))
        };
        let namespaces = end.namespaces.iter().filter(is_wanted).filter_map(|now| {
            let before = start
                .namespaces
                .iter()
                .find(|before| (before.inode, &before.name) == (now.inode, &now.name))?;
            Some(now.counted(before))
        });
        let cpus = end.cpus.iter().filter_map(|now| {
            let before = start.cpus.iter().find(|before| before.cpu == now.cpu)?;
            let growth = now.since(before);
            (growth.processed + growth.dropped + growth.time_squeeze + growth.received_rps > 0)
                .then_some(growth)
        });
        Self {
            start_ns: start.taken_ns,
            end_ns: end.taken_ns,
            cpus: cpus.collect(),
            namespaces: namespaces.collect(),
            missing: end.missing.clone(),
        }
    }
}

impl Namespace {
    fn counted(&self, before: &Self) -> Counted {
        // What is not among the earlier ones was zero then.
        let protocols = self.protocols.iter().filter_map(|(name, now)| {
            let growth = counter(*now, before.protocols.get(name).copied().unwrap_or(0));
            (growth > 0).then(|| (name.clone(), growth))
        });
        let interfaces = self.interfaces.iter().filter_map(|now| {
            let mut all = before.interfaces.iter();
            let before =
                all.find(|before| (before.index, &before.name) == (now.index, &now.name))?;
            let growth = now.since(before);
            let counted = growth.counters.values().any(|growth| *growth > 0)
                || growth.qdiscs.iter().any(|qdisc| qdisc.drops > 0);
            counted.then_some(growth)
        });
        Counted {
            name: self.name.clone(),
            inode: self.inode,
            protocols: protocols.collect(),
            sockets: [before.sockets.clone(), self.sockets.clone()],
            interfaces: interfaces.collect(),
        }
    }
}

/// What has to be open to read a moment.
#[derive(Debug)]
pub struct Watch {
    softnet: io::Result<OwnedFd>,
    namespaces: Vec<Open>,
    missing: Vec<SectionError>,
}

#[derive(Debug)]
struct Open {
    name: String,
    inode: u32,
    counters: Vec<(Parse, OwnedFd)>,
    sockets: Vec<OwnedFd>,
    netlink: Option<Netlink>,
}

impl Watch {
    /// Opens what there is to read of the namespaces asked for (see [`netns::is`]), or with none asked for of our own and
    /// of all that have a name. What cannot be opened is among what is missing of every moment.
    pub fn open(asked: &[String]) -> Self {
        let wanted = |inode: u32, name: &str| {
            let mut all = asked.iter();
            asked.is_empty() || all.any(|asked| netns::is(asked, inode, Some(name)))
        };
        let (mut namespaces, mut missing) = (Vec::new(), Vec::new());
        let (own, own_name) = (netns::own().unwrap_or(0), super::own_name());
        if wanted(own, &own_name) {
            namespaces.push(Open::here(own_name, true));
        }
        let mut named = netns::names();
        named.retain(|inode, name| *inode != own && wanted(*inode, name));
        if named.len() > MOST {
            let why = format!(
                "{} network namespaces have a name: only {MOST} of them are read",
                named.len()
            );
            let error = SectionError::new(SECTION, "counters of the others", why);
            missing.push(error.remedy("name those that matter with --netns"));
        }
        for name in named.into_values().take(MOST) {
            let opened: Result<Open, NetnsError> =
                netns::enter(&name, || Open::here(name.clone(), !asked.is_empty()));
            match opened {
                Ok(open) => namespaces.push(open),
                Err(error) => {
                    let what = format!("counters of {name}");
                    missing.push(SectionError::new(SECTION, what, error.to_string()));
                }
            }
        }
        Self {
            softnet: place("softnet_stat"),
            namespaces,
            missing,
        }
    }

    /// Reads all that is open.
    pub fn read(&mut self) -> Moment {
        let taken_ns = monotonic_ns();
        let mut missing = self.missing.clone();
        let softnet = self.softnet.as_ref().map_err(|error| error.kind().into());
        let cpus = softnet.and_then(text).map(|text| softirq::parse(&text));
        let cpus = match cpus {
            Ok(cpus) => cpus.unwrap_or_default(),
            Err(error) => {
                missing.push(SectionError::io(SECTION, "/proc/net/softnet_stat", &error));
                Vec::new()
            }
        };
        let namespaces = self.namespaces.iter_mut();
        Moment {
            taken_ns,
            cpus,
            namespaces: namespaces
                .filter_map(|open| open.read(&mut missing))
                .collect(),
            missing,
        }
    }
}

impl Open {
    /// What there is in the calling thread's namespace.
    fn here(name: String, with_netlink: bool) -> Self {
        let counters = COUNTERS.into_iter();
        let sockets = SOCKETS.into_iter();
        Self {
            name,
            inode: netns::own().unwrap_or(0),
            counters: counters
                .filter_map(|(name, parse)| Some((parse, place(name).ok()?)))
                .collect(),
            sockets: sockets.filter_map(|name| place(name).ok()).collect(),
            netlink: with_netlink.then(Netlink::route).and_then(Result::ok),
        }
    }

    /// `None` if the namespace is gone.
    fn read(&mut self, missing: &mut Vec<SectionError>) -> Option<Namespace> {
        let mut protocols = Protocols::default();
        for (parse, file) in &self.counters {
            parse(&text(file).ok()?, &mut protocols);
        }
        let page = page_size() as u64;
        let sockets = self.sockets.iter().filter_map(|file| text(file).ok());
        let interfaces = self.netlink.as_mut().map(interfaces::counters);
        let interfaces = match interfaces {
            Some(Ok(found)) => {
                missing.extend(found.missing);
                found.interfaces
            }
            Some(Err(error)) => {
                missing.push(error);
                Vec::new()
            }
            None => Vec::new(),
        };
        protocols.counters.retain(|_, value| *value > 0);
        Some(Namespace {
            name: self.name.clone(),
            inode: self.inode,
            protocols: protocols.counters,
            sockets: sockets
                .flat_map(|text| sockets::parse(&text, page).1)
                .collect(),
            interfaces,
        })
    }
}

/// The place of a file of `/proc/net`, of the calling thread's namespace.
fn place(name: &str) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::PATH.bits().cast_signed())
        .open(Path::new("/proc/thread-self/net").join(name))?;
    Ok(file.into())
}

/// What is in the file at a place, now. It is opened through our own list of open files: the path may have ended with the
/// thread that found it.
fn text(place: &OwnedFd) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?
        .take(LONGEST)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Datagrams to a port that nobody listens on, on this machine.
    fn lose(count: usize) {
        let free = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..count {
            socket.send_to(&[1], free).unwrap();
        }
    }

    #[test]
    fn a_moment_survives_being_recorded() {
        let moment = Watch::open(&[]).read();
        assert!(moment.taken_ns > 0);
        assert!(!moment.cpus.is_empty(), "{:?}", moment.missing);
        assert!(!moment.namespaces[0].interfaces.is_empty());
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
    }

    #[test]
    fn what_was_lost_is_counted() {
        let mut watch = Watch::open(&[]);
        let start = watch.read();
        lose(5);
        let counted = Meanwhile::between(&start, &watch.read(), &[]);
        // Other tests may lose some, too.
        let no_ports = counted.namespaces[0].protocols.get("UdpNoPorts");
        assert!(no_ports >= Some(&5), "{counted:?}");
        let lo = counted.namespaces[0]
            .interfaces
            .iter()
            .find(|interface| interface.name == "lo");
        assert!(lo.unwrap().get("rx_packets") >= Some(10));
    }

    #[test]
    fn only_what_grew_is_told() {
        let namespace = |counters: &[(&str, u64)]| Namespace {
            name: "host".to_owned(),
            protocols: counters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            ..Namespace::default()
        };
        let moment = |taken_ns, namespaces| Moment {
            taken_ns,
            namespaces,
            ..Moment::default()
        };
        let start = moment(
            1,
            vec![namespace(&[("UdpNoPorts", 3), ("IpInReceives", 4)])],
        );
        let gone = Namespace {
            name: "new".to_owned(),
            ..namespace(&[("UdpNoPorts", 1)])
        };
        let now = [("UdpNoPorts", 3), ("IpInReceives", 9), ("TcpInErrs", 2)];
        let end = moment(7, vec![namespace(&now), gone]);
        let counted = Meanwhile::between(&start, &end, &[]);
        assert_eq!((counted.start_ns, counted.end_ns), (1, 7));
        assert_eq!(counted.namespaces.len(), 1);
        let other = Meanwhile::between(&start, &end, &["other".to_owned()]);
        assert_eq!(other.namespaces, []);
        let protocols = &counted.namespaces[0].protocols;
        assert_eq!(
            *protocols,
            [("IpInReceives", 5), ("TcpInErrs", 2)]
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        );
    }
}
