//! Where the kernel's files are, as seen by the calling thread's network namespace.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

/// No file that we read is longer; what is, is cut.
const LONGEST: u64 = 64 << 20;

/// Roots of the kernel's files; tests have their own.
#[derive(Clone, Debug)]
pub struct Files {
    proc: PathBuf,
    net: PathBuf,
}

impl Files {
    /// The machine's. `/proc/net` would be the main thread's namespace; ours is below `/proc/thread-self`.
    pub fn system() -> Self {
        Self {
            proc: "/proc".into(),
            net: "/proc/thread-self/net".into(),
        }
    }

    /// A copy of `/proc`, with `net` in it.
    pub fn copy(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            net: proc.join("net"),
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

    /// A sysctl below `net`, written with slashes (`core/somaxconn`): of the calling thread's namespace, too.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        read(&self.proc.join("sys/net").join(name))
    }

    /// A sysctl that is one number; `None` if there is none of that name here, or it is no number.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.sysctl(name).ok()?.trim().parse().ok()
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
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
