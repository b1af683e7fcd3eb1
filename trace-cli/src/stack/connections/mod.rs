//! Sockets as `ss` gives them, by the kernel's sock_diag netlink.
//!
//! The kernel loads its modules `tcp_diag`, `udp_diag` and `raw_diag` for it, if they are not there yet. What it cannot list
//! so is read from files. Sockets change while they are listed: this is no photograph.

mod files;
mod growth;
mod memory;
mod message;
mod owners;
mod socket;
mod summary;
mod tcp_info;

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::Path,
};

use serde::Serialize;

pub use memory::Memory;
pub use owners::{Owner, Searched};
pub use socket::{
    Backlog, Endpoint, Family, Interface, Protocol, Queues, Socket, State, Timer, TimerKind,
};
pub use summary::{Count, Summary};
pub use tcp_info::TcpInfo;

use super::{SectionError, files::Files};
use crate::kernel::{
    netlink::{Netlink, NetlinkError},
    netns,
};

/// What the section is called.
pub const SECTION: &str = "connections";
/// More sockets than this are counted but not listed; each takes about a kilobyte.
const LIMIT: usize = 1 << 18;

/// The section.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Connections {
    /// How many there are.
    pub summary: Summary,
    /// All of them: TCP, MPTCP, UDP, raw, ping, and by state (listeners first), addresses and ports.
    pub sockets: Vec<Socket>,
    /// Sockets counted beyond the limit of the list (262144).
    pub not_listed: u64,
    /// Search for processes.
    pub searched: Searched,
    /// Fields of `tcp` that this kernel does not have.
    pub not_given: Vec<&'static str>,
    /// Protocols that could not be listed.
    pub missing: Vec<SectionError>,
}

/// Lists the sockets of the calling thread's network namespace; their processes are for [`find_owners`].
///
/// # Errors
/// If no protocol can be listed.
pub fn read(files: &Files) -> Result<Connections, SectionError> {
    let mut list = List::default();
    let mut netlink = Netlink::sock_diag();
    for (protocol, family) in Protocol::ALL
        .into_iter()
        .flat_map(|protocol| Family::ALL.map(|family| (protocol, family)))
    {
        // Without it there can be no such sockets.
        if protocol == Protocol::Mptcp && files.sysctl("mptcp/enabled").is_err() {
            continue;
        }
        let what = || format!("{} sockets of {}", protocol.name(), family.name());
        let answer = match (&mut netlink, protocol.number()) {
            (Ok(netlink), Some(number)) => Some(list.ask(netlink, protocol, family, number)),
            _ => None,
        };
        // What netlink does not know at all may be in a file; without that file there are no such sockets.
        let listed = match (answer, files::name(protocol, family)) {
            (None | Some(Err(NetlinkError::Refused(_))), Some(name)) => match files.net(name) {
                Ok(text) => Ok(list.take(protocol, family, &text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
                Err(error) => Err(SectionError::io(SECTION, what(), &error)),
            },
            (Some(answer), _) => answer.map_err(|error| missing(what(), &error)),
            (None, None) => Err(match &netlink {
                Err(error) => missing(what(), error),
                Ok(_) => SectionError::new(SECTION, what(), "no such list"),
            }),
        };
        match listed {
            Ok(0) => {}
            Ok(unread) => {
                let why = format!("{unread} entries are of no known form");
                list.missing.push(SectionError::new(SECTION, what(), why));
            }
            Err(error) => list.missing.push(error),
        }
    }
    if files.net("sctp/eps").is_ok() {
        let missing = SectionError::new(SECTION, "SCTP sockets", "they are not listed here");
        list.missing.push(missing.remedy("ss -S lists them"));
    }
    let List {
        mut sockets,
        tally,
        not_listed,
        not_given,
        mut missing,
    } = list;
    if sockets.is_empty() && missing.len() >= Protocol::ALL.len() {
        return Err(missing.swap_remove(0));
    }
    let interfaces = netns::interfaces().unwrap_or_default();
    for socket in &mut sockets {
        if let Some(interface) = &mut socket.interface {
            interface.name = interfaces.get(&interface.index).cloned();
        }
    }
    sockets.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(Connections {
        summary: tally.finish(),
        sockets,
        not_listed,
        searched: Searched::default(),
        not_given: not_given.into_iter().collect(),
        missing,
    })
}

/// Finds the processes of all these lists' sockets, of whatever namespaces: every process' open files are looked through once.
pub fn find_owners<'a>(lists: impl IntoIterator<Item = &'a mut Connections>) {
    let mut lists: Vec<_> = lists.into_iter().collect();
    let inodes = |list: &Connections| -> HashSet<u32> {
        list.sockets.iter().filter_map(|one| one.inode).collect()
    };
    let wanted = lists.iter().flat_map(|list| inodes(list)).collect();
    let (owners, searched) = owners::search(Path::new("/proc"), &wanted);
    for list in &mut lists {
        if !inodes(list).is_empty() {
            list.searched = searched;
        }
        for socket in &mut list.sockets {
            // An MPTCP connection and its first subflow have the same.
            let found = socket.inode.and_then(|inode| owners.get(&inode));
            socket.processes = found.cloned().unwrap_or_default();
        }
    }
}

/// The list in the making.
#[derive(Default)]
struct List {
    sockets: Vec<Socket>,
    tally: summary::Tally,
    not_listed: u64,
    not_given: BTreeSet<&'static str>,
    missing: Vec<SectionError>,
}

impl List {
    fn add(&mut self, socket: Socket) {
        self.tally.count(&socket);
        if self.sockets.len() < LIMIT {
            self.sockets.push(socket);
        } else {
            self.not_listed += 1;
        }
    }

    /// Lists by netlink; gives the number of entries that could not be read.
    fn ask(
        &mut self,
        netlink: &mut Netlink,
        protocol: Protocol,
        family: Family,
        number: u32,
    ) -> Result<u64, NetlinkError> {
        let mut unread = 0;
        let request = message::request(number, family);
        netlink.dump(
            message::BY_FAMILY,
            &request,
            |payload| match message::parse(protocol, payload) {
                Some((socket, info)) => {
                    let not_given = info.into_iter().flat_map(TcpInfo::not_given);
                    self.not_given.extend(not_given);
                    self.add(socket);
                }
                None => unread += 1,
            },
        )?;
        Ok(unread)
    }

    /// Lists what a file says; gives the number of lines that could not be read.
    fn take(&mut self, protocol: Protocol, family: Family, text: &str) -> u64 {
        let (sockets, unread) = files::parse(protocol, family, text);
        for socket in sockets {
            self.add(socket);
        }
        unread
    }
}

fn order(socket: &Socket) -> impl Ord + '_ {
    (
        socket.protocol,
        socket.state,
        &socket.local,
        &socket.remote,
        socket.cookie,
    )
}

/// A protocol that cannot be listed; one that this kernel has no module for is said to be so.
fn missing(what: String, error: &NetlinkError) -> SectionError {
    match error.errno() {
        Some(libc::ENOENT) => SectionError::new(SECTION, what, "this kernel cannot list them")
            .remedy("load its module: tcp_diag, udp_diag, mptcp_diag"),
        Some(libc::EPERM | libc::EACCES) => {
            SectionError::new(SECTION, what, error.to_string()).remedy("run it as root")
        }
        _ => SectionError::new(SECTION, what, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn sockets_of_ours_are_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let datagrams = UdpSocket::bind("[::1]:0").unwrap();
        let mut read = read(&Files::system()).unwrap();
        let mut elsewhere = Connections {
            sockets: Vec::new(),
            ..read.clone()
        };
        find_owners([&mut elsewhere, &mut read]);
        assert!(read.searched.processes > 0);
        assert_eq!(elsewhere.searched, Searched::default());
        let find = |local: std::net::SocketAddr, state| {
            read.sockets
                .iter()
                .find(|socket| {
                    socket.local.to_string() == local.to_string() && socket.state == state
                })
                .unwrap()
        };
        let listening = find(address, State::Listen);
        assert_eq!(listening.backlog.unwrap().pending, 1);
        assert!(
            listening
                .processes
                .iter()
                .any(|owner| owner.pid == std::process::id())
        );
        let connected = find(client.local_addr().unwrap(), State::Established);
        assert_eq!(
            connected.remote.as_ref().unwrap().to_string(),
            address.to_string()
        );
        assert!(connected.tcp.as_ref().unwrap().cwnd_segments.is_some());
        let waiting = find(address, State::Established);
        assert_eq!((waiting.inode, waiting.processes.len()), (None, 0));
        assert_eq!(
            find(datagrams.local_addr().unwrap(), State::Unconnected).protocol,
            Protocol::Udp
        );
        let counted: u64 = read.summary.counts.iter().map(|count| count.sockets).sum();
        assert_eq!(counted, read.summary.sockets);
    }
}
