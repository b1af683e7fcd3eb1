//! A network namespace that lives as long as its guard.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{LabError, run};
use crate::kernel;

/// Where `ip netns` keeps its namespaces.
const DIRECTORY: &str = "/run/netns";
/// Every name begins so, then comes the process id of the owner.
const PREFIX: &str = "pj-";

/// A named network namespace; dropping it deletes it, and all that is in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    inode: u32,
}

impl Netns {
    /// Makes `pj-<pid>-<label><number>`, with lo up and quick IPv6 addresses; the number is this process's own count.
    ///
    /// Namespaces that a killed process of ours left behind are removed first.
    pub fn new(label: &str) -> Result<Self, LabError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{label}{number}", std::process::id());
        run("ip", &["netns", "add", &name], "")?;
        let inode = kernel::netns::path(&name)
            .ok()
            .and_then(|path| kernel::netns::inode(&path));
        let netns = Self {
            name,
            inode: inode.unwrap_or(0),
        };
        // From here on a failure drops the guard, which cleans up.
        netns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        netns.sysctl("net/ipv6/conf/default/router_solicitations", "0")?;
        netns.sysctl("net/ipv6/conf/all/disable_ipv6", "0")?;
        // Unprivileged ping sockets: a raw one makes the kernel report a NO_SOCKET drop for each answer.
        netns.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// Its inode number: how the kernel, and a journey's legs, name it.
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs a closure on a thread of its own inside the namespace. A socket made there stays there.
    pub fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        kernel::netns::enter(&self.name, work)?
    }

    /// Runs a command inside the namespace.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        self.enter(|| run(program, arguments, ""))
    }

    /// Runs lines of `ip` commands (without the word `ip`) inside the namespace; all or nothing is not promised.
    pub fn ip(&self, lines: &str) -> Result<(), LabError> {
        run("ip", &["-n", &self.name, "-batch", "-"], lines).map(drop)
    }

    /// Runs `tc` with these arguments inside the namespace.
    pub fn tc(&self, arguments: &str) -> Result<String, LabError> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("tc", &all, "")
    }

    /// Feeds a script to `nft` inside the namespace.
    pub fn nft(&self, script: &str) -> Result<(), LabError> {
        self.enter(|| run("nft", &["-f", "-"], script)).map(drop)
    }

    /// Puts an empty chain (accept) into each netfilter hook: without any, packets do not pass netfilter at all.
    pub fn netfilter(&self) -> Result<(), LabError> {
        let mut script = String::from("add table inet hooks\n");
        for hook in ["prerouting", "input", "forward", "output", "postrouting"] {
            script +=
                &format!("add chain inet hooks {hook} {{ type filter hook {hook} priority 0; }}\n");
        }
        self.nft(&script)
    }

    /// Sets a sysctl, written as a path (`net/ipv4/ip_forward`), inside the namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{key}");
        self.enter(|| {
            fs::write(&path, value).map_err(LabError::io(format!("write {value} to {path}")))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Deletes a namespace; nothing useful can be done when that fails.
fn remove(name: &str) {
    let _ = run("ip", &["netns", "del", name], "");
}

/// Removes what processes that are no more have left behind (kill -9 lets no guard run).
pub fn sweep() {
    for name in left_behind() {
        remove(&name);
    }
}

/// Our namespaces whose process has ended.
pub fn left_behind() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            owner(name).is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists())
        })
        .collect()
}

/// The process that a namespace's name says made it.
fn owner(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("pj-123-a0"), Some(123));
        assert_eq!(owner("pj-x-a0"), None);
        assert_eq!(owner("blue"), None);
    }
}
