//! Where the kernel's files are, as seen by the calling thread's network namespace.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::{
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

/// No file that we read is longer; what is, is cut.
const LONGEST: u64 = 64 << 20;

/// Roots of the kernel's files; tests have their own.
#[derive(Debug)]
pub struct Files {
    proc: PathBuf,
    net: PathBuf,
    sys: Result<PathBuf, String>,
}

impl Files {
    /// The machine's. `/proc/net` would be the main thread's namespace; ours is below `/proc/thread-self`.
    ///
    /// `/sys` is taken as it is: [`sys`](Self::sys) shows the namespace that it was mounted in.
    pub fn system() -> Self {
        Self {
            proc: "/proc".into(),
            net: "/proc/thread-self/net".into(),
            sys: Ok("/sys".into()),
        }
    }

    /// Those of the namespace that the calling thread has entered.
    ///
    /// sysfs shows the network namespace that mounted it. So the thread gets a mount namespace of its own, which ends with it,
    /// and sysfs is mounted there anew: call it on a thread that ends soon. Where that is refused, there is no sysfs.
    pub fn entered() -> Self {
        let sys = mount_sysfs()
            .map(|()| PathBuf::from("/sys"))
            .map_err(|error| format!("sysfs cannot be mounted for this namespace: {error}"));
        Self {
            sys,
            ..Self::system()
        }
    }

    /// Copies of `/proc` (with `net` in it) and `/sys`.
    pub fn copies(proc: &Path, sys: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            net: proc.join("net"),
            sys: Ok(sys.to_owned()),
        }
    }

    /// A file of `/proc`.
    pub fn proc(&self, name: &str) -> io::Result<String> {
        read(&self.proc.join(name))
    }

    /// A file of `/proc/net`, of the calling thread's namespace.
    pub fn net(&self, name: &str) -> io::Result<String> {
        read(&self.net.join(name))
    }

    /// sysfs, or why there is none for this namespace.
    pub fn sys(&self) -> Result<&Path, &str> {
        self.sys.as_deref().map_err(String::as_str)
    }

    /// A sysctl below `net`, written with slashes (`core/somaxconn`): of the calling thread's namespace, too.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        read(&self.proc.join("sys/net").join(name))
    }

    /// A sysctl that is one number; `None` if there is none of that name here, or it is no number.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.sysctl(name).ok()?.trim().parse().ok()
    }

    /// A sysctl that is several numbers; `None` if there is none of that name here, or one is no number.
    pub fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        numbers(&self.sysctl(name).ok()?)
    }

    /// Several sysctls of one number, those that there are.
    pub fn settings(&self, names: &[&str]) -> BTreeMap<String, i64> {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.number(name)?)))
            .collect()
    }
}

/// Whole numbers with white space between them.
pub fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

fn mount_sysfs() -> io::Result<()> {
    // SAFETY: with NEWNS (which implies FS) no file descriptor changes hands; only this thread's view of paths does.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // Nothing of what follows shows outside.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("sysfs", "/sys", "sysfs", flags, None) {
        // It is this namespace's that is there already: `ip netns exec` has done the same.
        Err(Errno::BUSY) => Ok(()),
        other => Ok(other?),
    }
}

/// A file as text.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// A file that is one value.
pub fn value<T: FromStr>(path: &Path) -> Option<T> {
    read(path).ok()?.trim().parse().ok()
}

/// Names of what is in a folder, sorted; nothing if it cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let core = folder.path().join("sys/net/core");
        fs::create_dir_all(&core).unwrap();
        fs::write(core.join("somaxconn"), "4096\n").unwrap();
        fs::write(core.join("rss_key"), "00:00\n").unwrap();
        let files = Files::copies(folder.path(), folder.path());
        assert_eq!(
            files.settings(&["core/somaxconn", "core/rss_key", "core/nothing"]),
            BTreeMap::from([("core/somaxconn".to_owned(), 4096)])
        );
        assert_eq!(numbers("4096\t131072 6\n"), Some(vec![4096, 131_072, 6]));
        assert_eq!(numbers("1 x"), None);
    }
}
