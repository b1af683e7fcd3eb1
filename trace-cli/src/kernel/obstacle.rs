//! What stands in the way of tracing at all, and what to do about it. Decided from [`Facts`] alone.

use super::features::{Answer, Facts, Lockdown, OLDEST, remedy};

/// What stands in the way of tracing at all: what, why, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Obstacle {
    /// Not an architecture that we support.
    #[error(
        "cannot trace on {architecture}: pktjourney knows the calling conventions of x86_64 and aarch64 (little endian) \
         only; record on such a machine and read the recording here with -r"
    )]
    Architecture {
        /// `uname -m`.
        architecture: String,
    },
    /// Older than [`OLDEST`].
    #[error(
        "cannot trace on Linux {release}: its eBPF lacks what pktjourney builds on; use Linux {}.{} or newer",
        OLDEST.0, OLDEST.1
    )]
    TooOld {
        /// `uname -r`.
        release: String,
    },
    /// The kernel does not describe its types.
    #[error(
        "cannot trace: the kernel's type information is not usable ({why}); use a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y, and in a container mount /sys"
    )]
    NoBtf {
        /// What came of reading it.
        why: String,
    },
    /// Kernel lockdown forbids reading kernel memory.
    #[error(
        "cannot trace: kernel lockdown is in confidentiality mode{}, which forbids programs to read kernel memory; \
         boot with lockdown=integrity or without lockdown",
        if *seen { "" } else { ", as it seems (securityfs is not mounted)" }
    )]
    Lockdown {
        /// Whether the kernel said so itself; else it is inferred from the helper that is refused.
        seen: bool,
    },
    /// Capabilities are missing.
    #[error(
        "not permitted to trace: {} missing (effective user id {euid}); {}",
        missing.join(" and "),
        remedy()
    )]
    Privilege {
        /// Effective user id.
        euid: u32,
        /// Capabilities that are missing.
        missing: Vec<&'static str>,
    },
    /// Root of a user namespace is not root.
    #[error(
        "not permitted to trace: this is a user namespace (a rootless container?), whose root has no power over the \
         kernel; run on the host, or in a container started by the host's root with --privileged"
    )]
    UserNamespace,
    /// Before 5.11 maps count as locked memory, which is limited for whoever is not root.
    #[error(
        "not permitted to trace: this user's locked memory is limited to {} KiB, and before Linux 5.11 eBPF maps count as such; \
         run as root (sudo), raise the limit (ulimit -l unlimited as root, LimitMEMLOCK= in a systemd unit), or grant \
         cap_sys_resource too",
        limit / 1024
    )]
    LockedMemory {
        /// Bytes.
        limit: u64,
    },
    /// The capabilities are there, and still `bpf()` is refused.
    #[error(
        "not permitted to trace: the kernel refuses bpf() in spite of all capabilities ({why}); a seccomp filter or \
         security module forbids it: in a container use --privileged, or --security-opt seccomp=unconfined"
    )]
    Refused {
        /// What the kernel said.
        why: String,
    },
}

impl Obstacle {
    /// The exit code that tells scripts which it is: 3 missing privilege, 4 the kernel cannot.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Privilege { .. }
            | Self::UserNamespace
            | Self::Refused { .. }
            | Self::LockedMemory { .. } => 3,
            Self::Architecture { .. }
            | Self::TooOld { .. }
            | Self::NoBtf { .. }
            | Self::Lockdown { .. } => 4,
        }
    }
}

/// Whether there is any point in going on to load probes. What no privilege would help against is named first.
pub fn require(facts: &Facts) -> Result<(), Obstacle> {
    if !facts.little_endian || !matches!(facts.architecture.as_str(), "x86_64" | "aarch64") {
        return Err(Obstacle::Architecture {
            architecture: facts.architecture.clone(),
        });
    }
    if facts.version.is_some_and(|version| version < OLDEST) {
        return Err(Obstacle::TooOld {
            release: facts.release.clone(),
        });
    }
    if let Answer::No(why) = &facts.btf {
        return Err(Obstacle::NoBtf { why: why.clone() });
    }
    let seen = facts.lockdown == Lockdown::Confidentiality;
    if seen || matches!(facts.reads, Answer::No(_)) {
        return Err(Obstacle::Lockdown { seen });
    }
    let missing = facts.capabilities.missing();
    if !missing.is_empty() {
        return Err(Obstacle::Privilege {
            euid: facts.euid,
            missing,
        });
    }
    match &facts.bpf {
        Answer::No(_) if !facts.initial_user_namespace => Err(Obstacle::UserNamespace),
        Answer::No(why) => {
            Err(of_memory(facts).unwrap_or_else(|| Obstacle::Refused { why: why.clone() }))
        }
        _ => Ok(()),
    }
}

/// What a refused map most likely means where memory for maps is limited.
pub fn of_memory(facts: &Facts) -> Option<Obstacle> {
    let counts = facts.version.is_some_and(|version| version < (5, 11));
    let limit = facts.locked_memory_limit.filter(|_| counts)?;
    Some(Obstacle::LockedMemory { limit })
}

#[cfg(test)]
mod tests {
    use super::{super::features::Capabilities, *};

    fn good() -> Facts {
        Facts {
            release: "6.18.44-custom".to_owned(),
            version: Some((6, 18)),
            architecture: "x86_64".to_owned(),
            little_endian: true,
            initial_user_namespace: true,
            capabilities: Capabilities {
                bpf: true,
                perfmon: true,
                ..Capabilities::default()
            },
            btf: Answer::Yes,
            bpf: Answer::Yes,
            ..Facts::default()
        }
    }

    /// Exit code and message for a machine that differs from a good one.
    fn obstacle(change: impl FnOnce(&mut Facts)) -> (u8, String) {
        let mut facts = good();
        change(&mut facts);
        let obstacle = require(&facts).unwrap_err();
        (obstacle.exit_code(), obstacle.to_string())
    }

    #[test]
    fn nothing_in_the_way() {
        assert_eq!(require(&good()), Ok(()));
        let admin = Capabilities {
            sys_admin: true,
            ..Capabilities::default()
        };
        assert_eq!(
            require(&Facts {
                capabilities: admin,
                ..good()
            }),
            Ok(())
        );
        assert_eq!(
            require(&Facts {
                version: None,
                ..good()
            }),
            Ok(())
        );
        assert_eq!(
            require(&Facts {
                version: Some((5, 10)),
                lockdown: Lockdown::Integrity,
                ..good()
            }),
            Ok(())
        );
    }

    #[test]
    fn each_obstacle_says_what_why_and_what_to_do() {
        let (code, text) = obstacle(|facts| facts.capabilities = Capabilities::default());
        assert_eq!(code, 3);
        assert!(
            text.contains("CAP_BPF and CAP_PERFMON missing") && text.contains("sudo"),
            "{text}"
        );
        let (code, text) = obstacle(|facts| facts.capabilities.perfmon = false);
        assert!(
            code == 3 && text.contains("to trace: CAP_PERFMON missing"),
            "{text}"
        );
        let (code, text) =
            obstacle(|facts| facts.btf = Answer::No("cannot read x: no such file".to_owned()));
        assert!(
            code == 4 && text.contains("no such file") && text.contains("CONFIG_DEBUG_INFO_BTF"),
            "{text}"
        );
        let (code, text) = obstacle(|facts| facts.architecture = "riscv64".to_owned());
        assert!(code == 4 && text.contains("riscv64"), "{text}");
        let (code, _) = obstacle(|facts| facts.little_endian = false);
        assert_eq!(code, 4);
        let (code, text) = obstacle(|facts| facts.lockdown = Lockdown::Confidentiality);
        assert!(code == 4 && text.contains("lockdown=integrity"), "{text}");
        let (code, text) = obstacle(|facts| facts.reads = Answer::No("refused".to_owned()));
        assert!(
            code == 4 && text.contains("as it seems") && text.contains("lockdown=integrity"),
            "{text}"
        );
        let (code, text) = obstacle(|facts| facts.version = Some((5, 4)));
        assert!(code == 4 && text.contains("5.10 or newer"), "{text}");
        let (code, text) = obstacle(|facts| facts.bpf = Answer::No("EPERM".to_owned()));
        assert!(
            code == 3 && text.contains("seccomp") && text.contains("EPERM"),
            "{text}"
        );
        let (code, text) = obstacle(|facts| {
            facts.bpf = Answer::No("EPERM".to_owned());
            facts.version = Some((5, 10));
            facts.locked_memory_limit = Some(65_536);
        });
        assert!(
            code == 3 && text.contains("limited to 64 KiB") && text.contains("ulimit -l"),
            "{text}"
        );
        let (code, text) = obstacle(|facts| {
            facts.bpf = Answer::No("EPERM".to_owned());
            facts.initial_user_namespace = false;
        });
        assert!(code == 3 && text.contains("user namespace"), "{text}");
    }
}
