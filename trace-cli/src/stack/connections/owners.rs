//! Which processes hold which sockets: each one's open files, looked through once.
//!
//! As `ss -p` does it. procfs 0.18 asks for the mode of each file too, a system call more for every one of what may be a
//! million.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
};

use serde::Serialize;

/// A process that has a socket open.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Owner {
    /// Process id, as our own PID namespace numbers it.
    pub pid: u32,
    /// What it calls itself (`/proc/<pid>/comm`).
    pub name: String,
    /// Its number for the socket.
    pub fd: u32,
}

/// How much of the search could be done; nothing, where no socket was to be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Searched {
    /// Processes whose open files were read.
    pub processes: u32,
    /// Processes whose open files may not be read: theirs may be any of the sockets without a process.
    pub unreadable: u32,
}

/// Owners of the wanted sockets, by inode number, in order of process id and file number.
pub fn search(proc: &Path, wanted: &HashSet<u32>) -> (HashMap<u32, Vec<Owner>>, Searched) {
    let (mut owners, mut searched) = (HashMap::<u32, Vec<Owner>>::new(), Searched::default());
    if wanted.is_empty() {
        return (owners, searched);
    }
    let mut pids: Vec<u32> = fs::read_dir(proc)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        match sockets(&proc.join(pid.to_string()), wanted) {
            Ok(sockets) => {
                searched.processes += 1;
                if sockets.is_empty() {
                    continue;
                }
                let comm = fs::read(proc.join(format!("{pid}/comm"))).unwrap_or_default();
                let name = String::from_utf8_lossy(&comm)
                    .trim_end_matches('\n')
                    .to_owned();
                for (inode, fd) in sockets {
                    owners.entry(inode).or_default().push(Owner {
                        pid,
                        name: name.clone(),
                        fd,
                    });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                searched.unreadable += 1;
            }
            // It ended meanwhile.
            Err(_) => {}
        }
    }
    (owners, searched)
}

/// The wanted ones among a process' sockets: inode number and file number, by file number.
fn sockets(process: &Path, wanted: &HashSet<u32>) -> io::Result<Vec<(u32, u32)>> {
    let mut sockets: Vec<(u32, u32)> = fs::read_dir(process.join("fd"))?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let inode = inode(fs::read_link(entry.path()).ok()?.to_str()?)?;
            let fd = entry.file_name().to_str()?.parse().ok()?;
            wanted.contains(&inode).then_some((inode, fd))
        })
        .collect();
    sockets.sort_unstable_by_key(|(_, fd)| *fd);
    Ok(sockets)
}

/// `socket:[123]`.
fn inode(target: &str) -> Option<u32> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd as _, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn our_own_socket_is_ours() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = inode(link.to_str().unwrap()).unwrap();
        let (owners, searched) = search(Path::new("/proc"), &HashSet::from([inode]));
        let ours: Vec<_> = owners[&inode]
            .iter()
            .map(|owner| (owner.pid, owner.fd))
            .collect();
        assert!(
            ours.contains(&(
                std::process::id(),
                u32::try_from(socket.as_raw_fd()).unwrap()
            )),
            "{ours:?}"
        );
        assert!(searched.processes > 0);
    }

    #[test]
    fn a_made_up_proc() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, fd, target) in [
            ("12", "7", "socket:[90]"),
            ("12", "3", "socket:[90]"),
            ("12", "4", "socket:[91]"),
            ("9", "5", "socket:[90]"),
            ("9", "6", "pipe:[90]"),
        ] {
            let folder = proc.path().join(pid).join("fd");
            fs::create_dir_all(&folder).unwrap();
            symlink(target, folder.join(fd)).unwrap();
            fs::write(proc.path().join(pid).join("comm"), "a b\n").unwrap();
        }
        fs::create_dir(proc.path().join("13")).unwrap();
        let (owners, searched) = search(proc.path(), &HashSet::from([90]));
        let found: Vec<_> = owners[&90]
            .iter()
            .map(|owner| (owner.pid, owner.fd))
            .collect();
        assert_eq!(found, [(9, 5), (12, 3), (12, 7)]);
        assert_eq!(owners[&90][0].name, "a b");
        assert_eq!(
            (owners.len(), searched.processes, searched.unreadable),
            (1, 2, 0)
        );
    }

    #[test]
    fn only_sockets_have_inodes_of_sockets() {
        for target in [
            "socket:[]",
            "socket:[1",
            "socket:[99999999999]",
            "pipe:[1]",
            "",
        ] {
            assert_eq!(inode(target), None, "{target}");
        }
    }
}
