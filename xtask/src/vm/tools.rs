//! The programs around a guest: QEMU, and the networking tools that run inside. Both come from one
//! Debian suite into the cache, with their own libraries, so they are the same on every machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    apt::Suite,
    util::{self, output, say},
};

/// Where QEMU and the guest's tools come from.
const SUITE: &str = "trixie";
/// The C library of that suite. Programs built against a newer one bring theirs along.
pub const GLIBC: (u32, u32) = (2, 41);
/// Older emulations crash these kernels at random (7.2: 5 boots of 12).
const OLDEST_QEMU: u32 = 10;
const GUEST: [&str; 10] = [
    "busybox-static",
    "bash",
    "ethtool",
    "iproute2",
    "iputils-ping",
    "libgcc-s1",
    "netbase",
    "nftables",
    "procps",
    "tcpdump",
];

/// An unpacked root file system with the guest's tools.
pub fn guest(cache: &Path) -> Result<PathBuf> {
    unpacked(
        cache,
        "guest-tools",
        &GUEST,
        "the guest's tools (ip, tc, nft, ping, …)",
    )
}

/// The folder that bpftrace is unpacked in.
pub fn bpftrace() -> Result<PathBuf> {
    let cache = util::cache()?;
    unpacked(
        &cache,
        "bpftrace",
        &["bpftrace"],
        "bpftrace, to compare with",
    )
}

/// The words that start that bpftrace here: through its own loader, for this machine's C library may be older.
pub fn bpftrace_command() -> Result<Vec<String>> {
    let root = bpftrace()?;
    let words = [
        loader(&root)?,
        PathBuf::from("--library-path"),
        root.join("usr/lib/x86_64-linux-gnu"),
        root.join("usr/bin/bpftrace"),
    ];
    Ok(words.map(|word| word.to_string_lossy().into_owned()).into())
}

/// A QEMU new enough: the machine's own, else Debian's in the cache.
pub fn qemu(cache: &Path) -> Result<Command> {
    if let Some(own) = util::which("qemu-system-x86_64") {
        let version = output(Command::new(&own).arg("--version")).unwrap_or_default();
        if major(&version).is_some_and(|v| v >= OLDEST_QEMU) {
            return Ok(Command::new(own));
        }
    }
    let root = unpacked(cache, "qemu", &["qemu-system-x86"], "QEMU")?;
    // Started through its own loader: the machine's C library may be older.
    let mut command = Command::new(loader(&root)?);
    command
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"))
        .arg(root.join("usr/bin/qemu-system-x86_64"));
    for data in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(root.join(data));
    }
    Ok(command)
}

/// The dynamic loader of an unpacked root.
pub fn loader(root: &Path) -> Result<PathBuf> {
    ["usr/lib64", "lib64", "usr/lib/x86_64-linux-gnu"]
        .iter()
        .map(|dir| root.join(dir).join("ld-linux-x86-64.so.2"))
        .find(|path| path.exists())
        .with_context(|| format!("no dynamic loader in {}", root.display()))
}

/// `QEMU emulator version 10.0.2 (…)` → 10
fn major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("version ")?;
    number.split('.').next()?.parse().ok()
}

fn unpacked(cache: &Path, name: &str, packages: &[&str], what: &str) -> Result<PathBuf> {
    let _lock = util::lock(cache, name)?;
    let root = cache.join(name);
    let stamp = cache.join(format!("{name}.packages"));
    let wanted = format!("{SUITE} {}", packages.join(" "));
    if root.is_dir() && fs::read_to_string(&stamp).is_ok_and(|had| had == wanted) {
        return Ok(root);
    }
    say(format!(
        "fetching {what} from Debian {SUITE} into the cache (once)"
    ));
    let work = util::scratch(cache)?;
    Suite::open(cache, SUITE)?.unpack_with_dependencies(packages, work.path())?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::rename(work.keep(), &root)?;
    fs::write(stamp, wanted)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn qemu_version_is_read() {
        assert_eq!(
            major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"),
            Some(10)
        );
        assert_eq!(major("something else"), None);
    }
}
