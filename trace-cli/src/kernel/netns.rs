//! Network namespaces: their names, their interfaces, and doing things inside of one.
//!
//! The kernel knows a namespace by the inode number of its `/proc/<pid>/ns/net`; packets are stamped with it. Names are
//! a custom of `ip netns`, which keeps each namespace mounted on a file in `/run/netns`.
//!
//! A thread enters a namespace by `setns()`, for itself alone. [`enter`] does so on a thread of its own that ends
//! afterwards, so that there is nothing to restore, nor a way to forget it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    panic,
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Where `ip netns` keeps names (the second is the first on most systems), and Docker its own, which are hashes.
const FOLDERS: [&str; 3] = ["/run/netns", "/var/run/netns", "/run/docker/netns"];
/// The namespace of the calling thread, which need not be that of the process.
const OWN: &str = "/proc/thread-self/ns/net";

/// Why a namespace could not be entered or read.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// No namespace has this name.
    #[error("no network namespace is called {name:?}{}", there_are(known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The file that stands for it cannot be opened.
    #[error("cannot open the network namespace {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// `setns()` was refused.
    #[error("cannot enter the network namespace {} (needs CAP_SYS_ADMIN)", path.display())]
    Enter {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread could be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The list of interfaces could not be read.
    #[error("cannot list the network interfaces")]
    Interfaces(#[source] io::Error),
}

fn there_are(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; there are {}", names.join(", "))
    }
}

/// Inode number of the calling thread's network namespace.
pub fn own() -> Option<u32> {
    inode(Path::new(OWN))
}

/// The name of the first process' network namespace, which has none of its own.
pub const HOST: &str = "host";

/// Inode number of the first process' network namespace; `None` where we may not look at it.
pub fn host() -> Option<u32> {
    inode(Path::new("/proc/1/ns/net"))
}

/// Inode number of a namespace, given a file that stands for it. `None` for an ordinary file, such as `ip netns` leaves
/// behind when a namespace was unmounted by force: those of namespaces are all on one device, the kernel's nsfs.
pub fn inode(path: &Path) -> Option<u32> {
    let file = fs::metadata(path).ok()?;
    let is_namespace = file.dev() == fs::metadata(OWN).ok()?.dev();
    is_namespace
        .then(|| u32::try_from(file.ino()).ok())
        .flatten()
}

/// Whether a namespace is the wanted one: asked for by its name, by a file that is called so, or by its inode number.
pub fn is(wanted: &str, inode: u32, name: Option<&str>) -> bool {
    let last = wanted.rsplit('/').next().unwrap_or(wanted);
    name == Some(last) || wanted.parse() == Ok(inode)
}

/// Names of all namespaces that have one, by inode number. Changes as namespaces come and go.
pub fn names() -> BTreeMap<u32, String> {
    names_in(&FOLDERS.map(Path::new))
}

fn names_in(folders: &[&Path]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for entry in folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
    {
        if let (Some(inode), Ok(name)) = (inode(&entry.path()), entry.file_name().into_string()) {
            names.entry(inode).or_insert(name);
        }
    }
    names
}

/// Namespaces that processes are in, by inode number, with the lowest id of such a process: for namespaces of
/// containers, which have no names. Looks at every process, so not for often; without root only at one's own.
pub fn processes() -> BTreeMap<u32, u32> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid
            && let Some(inode) = inode(&entry.path().join("ns/net"))
        {
            processes
                .entry(inode)
                .and_modify(|known: &mut u32| *known = pid.min(*known))
                .or_insert(pid);
        }
    }
    processes
}

/// The file that stands for a namespace, given its name or, if it has a slash, that file.
pub fn path(name_or_path: &str) -> Result<PathBuf, NetnsError> {
    if name_or_path.contains('/') {
        return Ok(PathBuf::from(name_or_path));
    }
    let is_name = !matches!(name_or_path, "" | "." | "..");
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name_or_path))
        .find(|path| is_name && path.exists())
        .ok_or_else(|| NetnsError::Unknown {
            name: name_or_path.to_owned(),
            known: names().into_values().collect(),
        })
}

/// Runs `inside` in the network namespace, on a thread of its own, and waits for it.
///
/// What `inside` opens there (sockets, netfilter links) stays in that namespace for as long as it lives. A panic inside
/// goes on outside.
pub fn enter<T: Send>(
    name_or_path: &str,
    inside: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    let path = path(name_or_path)?;
    let file = File::open(&path).map_err(|source| NetnsError::Open {
        path: path.clone(),
        source,
    })?;
    let run = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |error| NetnsError::Enter {
                path,
                source: error.into(),
            },
        )?;
        Ok(inside())
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, run);
        thread
            .map_err(NetnsError::Thread)?
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}

/// Interfaces of the calling thread's namespace: name by index. Use it inside of [`enter`] for another.
///
/// `/sys/class/net` shows the namespace that sysfs was mounted in, whatever thread looks; `/proc/thread-self/net` does
/// not. It has no indices, for these a socket is asked.
pub fn interfaces() -> Result<BTreeMap<u32, String>, NetnsError> {
    let list = fs::read("/proc/thread-self/net/dev").map_err(NetnsError::Interfaces)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| NetnsError::Interfaces(error.into()))?;
    Ok(parse_device_list(&String::from_utf8_lossy(&list))
        // An interface may have gone or got another name in between.
        .filter_map(|name| {
            Some((
                netdevice::name_to_index(&socket, name).ok()?,
                name.to_owned(),
            ))
        })
        .collect())
}

/// `/proc/net/dev`: two lines of heading, then `  name: numbers`. A name may itself have a colon, numbers do not.
fn parse_device_list(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .skip(2)
        .filter_map(|line| Some(line.rsplit_once(':')?.0.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    /// A namespace made by `ip netns` for one test.
    struct Namespace(String);

    impl Namespace {
        /// `None` (and the test does nothing) without the privilege or `ip`.
        fn new(test: &str) -> Option<Self> {
            let name = format!("pktjourney-{test}-{}", process::id());
            let added = Command::new("ip")
                .args(["netns", "add", &name])
                .output()
                .ok()?;
            added.status.success().then_some(Self(name))
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
        }
    }

    #[test]
    fn entering_a_namespace_and_not_staying() {
        let Some(namespace) = Namespace::new("enter") else {
            return;
        };
        let before = own().unwrap();
        let inside = enter(&namespace.0, own).unwrap().unwrap();
        assert_ne!(inside, before);
        assert_eq!(own(), Some(before));
        assert_eq!(names().get(&inside), Some(&namespace.0));
        assert_eq!(
            enter(&format!("/run/netns/{}", namespace.0), own).unwrap(),
            Some(inside)
        );
        let Err(NetnsError::Unknown { known, .. }) = enter("pktjourney-no-such", || ()) else {
            panic!()
        };
        assert!(known.contains(&namespace.0));
    }

    #[test]
    fn interfaces_of_a_namespace() {
        let Some(namespace) = Namespace::new("links") else {
            return;
        };
        let dummy = [
            "-n",
            &namespace.0,
            "link",
            "add",
            "pj0",
            "index",
            "77",
            "type",
            "veth",
        ];
        let added = Command::new("ip")
            .args(dummy)
            .output()
            .unwrap()
            .status
            .success();
        let inside = enter(&namespace.0, interfaces).unwrap().unwrap();
        assert_eq!(inside.get(&1).map(String::as_str), Some("lo"));
        assert_eq!(inside.get(&77).map(String::as_str), added.then_some("pj0"));
        assert!(!interfaces().unwrap().contains_key(&77));
    }

    #[test]
    fn not_a_namespace() {
        assert!(matches!(
            enter("/nonexistent/ns", || ()),
            Err(NetnsError::Open { .. })
        ));
        assert!(matches!(
            enter("/dev/null", || ()),
            Err(NetnsError::Enter { .. })
        ));
        for name in ["", ".", "..", "pktjourney-no-such"] {
            assert!(
                matches!(path(name), Err(NetnsError::Unknown { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn own_namespace() {
        let own = own().unwrap();
        assert!(processes().contains_key(&own));
        assert!(interfaces().unwrap().values().any(|name| name == "lo"));
    }

    #[test]
    fn device_list() {
        let text =
            "Inter-|   Receive\n face |bytes\n    lo: 1 2 3\neth0:10 0\nold:1: 5\nbad line\n";
        assert_eq!(
            parse_device_list(text).collect::<Vec<_>>(),
            ["lo", "eth0", "old:1"]
        );
        assert_eq!(parse_device_list("").count(), 0);
    }

    #[test]
    fn ordinary_files_name_no_namespace() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("blue"), "").unwrap();
        let missing = folder.path().join("missing");
        assert_eq!(names_in(&[folder.path(), &missing]), BTreeMap::new());
        std::os::unix::fs::symlink(OWN, folder.path().join("green")).unwrap();
        assert_eq!(
            names_in(&[folder.path()]).into_values().collect::<Vec<_>>(),
            ["green"]
        );
    }
}
