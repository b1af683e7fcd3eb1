//! What this kernel and our privileges allow. Tried wherever it can be tried, rather than inferred from a version: the
//! hardened kernels that users have do not follow the versions.
//!
//! [`Facts`] is plain data, so that a recording can say what the machine was like. Which kinds of probe work is
//! answered by the probe loader, which fills [`Facts::probes`] in.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported},
};
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use super::{
    btf::{Btf, BtfError},
    switches::Switches,
};

/// The oldest kernel we run on: the first long-term one with BPF ring buffers and `CAP_BPF`.
pub const OLDEST: (u32, u32) = (5, 10);

/// Whether something works.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was not tried.
    #[default]
    Untried,
    /// It was tried and works.
    Yes,
    /// It was tried and failed: this is what the kernel said.
    No(String),
}

impl Answer {
    /// Whether it was tried and works.
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }

    /// From the result of trying.
    pub fn of<T, E: std::error::Error>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(error) => Self::No(chain(&error)),
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Which kinds of probe can be loaded and attached; filled in by the loader.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProbeKinds {
    /// BTF tracepoints.
    pub tp_btf: Answer,
    /// Raw tracepoints.
    pub raw_tp: Answer,
    /// Function entry and exit by trampolines (`fentry`, `fexit`).
    pub fentry: Answer,
    /// Function entry and exit by breakpoints (`kprobe`, `kretprobe`).
    pub kprobe: Answer,
    /// Netfilter links.
    pub nf: Answer,
}

/// Capabilities in effect, of those that matter here.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Capabilities {
    /// CAP_BPF: load programs, make maps.
    pub bpf: bool,
    /// CAP_PERFMON: read kernel memory, attach to tracepoints and functions.
    pub perfmon: bool,
    /// CAP_NET_ADMIN: netfilter links.
    pub net_admin: bool,
    /// CAP_SYS_ADMIN: includes the first two; enter namespaces.
    pub sys_admin: bool,
    /// CAP_SYSLOG: see kernel addresses in kallsyms.
    pub syslog: bool,
}

impl Capabilities {
    /// From the `CapEff` line of a `/proc/<pid>/status`.
    fn from_status(status: &str) -> Self {
        let mask = field(status, "CapEff:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .unwrap_or(0);
        // Numbers from include/uapi/linux/capability.h.
        let has = |number: u32| mask >> number & 1 != 0;
        Self {
            net_admin: has(12),
            sys_admin: has(21),
            syslog: has(34),
            perfmon: has(38),
            bpf: has(39),
        }
    }

    /// Names of those without which nothing can be traced.
    pub fn missing(self) -> Vec<&'static str> {
        [("CAP_BPF", self.bpf), ("CAP_PERFMON", self.perfmon)]
            .into_iter()
            .filter(|(_, held)| !held && !self.sys_admin)
            .map(|(name, _)| name)
            .collect()
    }
}

/// A capability that is not held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Missing {
    /// Its name.
    pub capability: &'static str,
    /// What cannot be had without it.
    pub lost: &'static str,
}

/// How whoever lacks capabilities gets them: for the end of a sentence.
pub fn remedy() -> String {
    let program = std::env::current_exe();
    let program = program.as_deref().unwrap_or(Path::new("pktjourney"));
    format!(
        "run as root (sudo), or grant the program the capabilities with: \
         sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_syslog+ep {}",
        program.display()
    )
}

/// What `/sys/kernel/security/lockdown` says.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lockdown {
    /// The file is not there: the kernel has no lockdown, or securityfs is not mounted.
    #[default]
    Unknown,
    /// Off.
    None,
    /// No changing of the kernel.
    Integrity,
    /// No reading of kernel memory either: no tracing.
    Confidentiality,
}

impl Lockdown {
    /// `none [integrity] confidentiality`: the one in brackets is in force.
    fn parse(text: &str) -> Self {
        match text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(state, _)| state)
        {
            Some("none") => Self::None,
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            _ => Self::Unknown,
        }
    }
}

/// What we found out about the machine and about ourselves on it.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// Major and minor number of the release, where it begins with such.
    pub version: Option<(u32, u32)>,
    /// `uname -m`.
    pub architecture: String,
    /// Whether this program was built for little endian.
    pub little_endian: bool,
    /// Effective user id.
    pub euid: u32,
    /// Whether we are outside of any user namespace. Inside of one, root and capabilities do not count for eBPF.
    pub initial_user_namespace: bool,
    /// Capabilities in effect.
    pub capabilities: Capabilities,
    /// Whether the kernel's BTF was there and could be read.
    pub btf: Answer,
    /// Whether `bpf()` made us a map: what security modules, seccomp and the capabilities come to.
    pub bpf: Answer,
    /// Whether programs may read kernel memory (`bpf_probe_read_kernel`).
    #[serde(default)]
    pub reads: Answer,
    /// Whether kernel functions have names (`/proc/kallsyms` shows addresses).
    #[serde(default)]
    pub symbols: Answer,
    /// Lockdown state.
    pub lockdown: Lockdown,
    /// Bytes of memory that maps may take (`RLIMIT_MEMLOCK`); none where it is not limited. From 5.11 on it does not count.
    #[serde(default)]
    pub locked_memory_limit: Option<u64>,
    /// What the administrator can switch off.
    #[serde(default)]
    pub switches: Switches,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.bpf_stats_enabled`: whether each program run is timed, which costs.
    pub bpf_stats_enabled: Option<bool>,
    /// Kinds of probe, once the loader has tried them.
    pub probes: ProbeKinds,
}

impl Facts {
    /// Looks and tries. Takes what came of reading BTF, so that it is read only once.
    pub fn gather(btf: Result<&Btf, &BtfError>) -> Self {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let sysctl = |name: &str| -> Option<i32> {
            let path = Path::new("/proc/sys/kernel").join(name);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        Self {
            version: parse_version(&release),
            release,
            architecture: uname.machine().to_string_lossy().into_owned(),
            little_endian: cfg!(target_endian = "little"),
            euid: rustix::process::geteuid().as_raw(),
            initial_user_namespace: is_initial_user_namespace(),
            capabilities: Capabilities::from_status(&status),
            btf: match btf {
                Ok(_) => Answer::Yes,
                Err(error) => Answer::No(chain(error)),
            },
            bpf: match is_map_supported(MapType::Array) {
                Ok(true) => Answer::Yes,
                Ok(false) => Answer::No("no array maps".to_owned()),
                Err(error) => Answer::No(chain(&error)),
            },
            reads: reads(),
            locked_memory_limit: getrlimit(Resource::Memlock).current,
            switches: Switches::read(),
            symbols: symbols(),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown")
                .map_or(Lockdown::Unknown, |text| Lockdown::parse(&text)),
            unprivileged_bpf_disabled: sysctl("unprivileged_bpf_disabled"),
            perf_event_paranoid: sysctl("perf_event_paranoid"),
            bpf_stats_enabled: sysctl("bpf_stats_enabled").map(|value| value != 0),
            probes: ProbeKinds::default(),
        }
    }

    /// Capabilities that would let us see or do more, in the order of what they are worth.
    pub fn missing(&self) -> Vec<Missing> {
        let Capabilities {
            net_admin,
            sys_admin,
            syslog,
            ..
        } = self.capabilities;
        let mut missing: Vec<Missing> = self
            .capabilities
            .missing()
            .into_iter()
            .map(|capability| Missing {
                capability,
                lost: "tracing at all",
            })
            .collect();
        let mut add = |is_missing: bool, capability, lost| {
            if is_missing {
                missing.push(Missing { capability, lost });
            }
        };
        add(
            !syslog && !self.symbols.is_yes(),
            "CAP_SYSLOG",
            "names of kernel functions, where packets are dropped",
        );
        add(
            !net_admin && !sys_admin,
            "CAP_NET_ADMIN",
            "netfilter bookends (--probes …,nf)",
        );
        add(
            !sys_admin,
            "CAP_SYS_ADMIN",
            "bookends in other network namespaces (--bookends)",
        );
        missing
    }
}

/// Every kernel that we run on has the helper; lockdown for confidentiality takes it away, whether it can be seen or not.
fn reads() -> Answer {
    match is_helper_supported(
        ProgramType::RawTracePoint,
        BpfHelper::BPF_FUNC_probe_read_kernel,
    ) {
        Ok(true) => Answer::Yes,
        Ok(false) => Answer::No("the kernel does not let programs read its memory".to_owned()),
        // Not permitted to load programs at all.
        Err(_) => Answer::Untried,
    }
}

/// Whoever may not see addresses is shown zeros. (The first ones may be zero for everyone.)
fn symbols() -> Answer {
    const ENOUGH: usize = 1000;
    let shown = |line: &str| line.bytes().take(16).any(|digit| digit != b'0');
    match File::open("/proc/kallsyms") {
        Ok(file) => {
            let mut lines = BufReader::new(file)
                .lines()
                .take(ENOUGH)
                .map_while(Result::ok);
            if lines.any(|line| shown(&line)) {
                Answer::Yes
            } else {
                Answer::No("/proc/kallsyms does not show addresses".to_owned())
            }
        }
        Err(error) => Answer::No(format!("/proc/kallsyms: {error}")),
    }
}

/// `6.18.44-custom` → (6, 18).
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The initial user namespace maps all ids to themselves. (A kernel without user namespaces has no such file.)
fn is_initial_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").map_or(true, |map| {
        map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
    })
}

/// The value of a `name:\tvalue` line.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{super::obstacle::require, *};

    #[test]
    fn lockdown_states() {
        for (text, state) in [
            ("[none] integrity confidentiality\n", Lockdown::None),
            ("none [integrity] confidentiality\n", Lockdown::Integrity),
            (
                "none integrity [confidentiality]\n",
                Lockdown::Confidentiality,
            ),
            ("", Lockdown::Unknown),
            ("][", Lockdown::Unknown),
        ] {
            assert_eq!(Lockdown::parse(text), state);
        }
    }

    #[test]
    fn capabilities_in_effect() {
        let some = Capabilities::from_status("Name:\tx\nCapPrm:\t0\nCapEff:\t000000c000001000\n");
        assert_eq!(
            some,
            Capabilities {
                bpf: true,
                perfmon: true,
                net_admin: true,
                ..Capabilities::default()
            }
        );
        assert_eq!(
            Capabilities::from_status("CapEff:\tzz\n"),
            Capabilities::default()
        );
        assert_eq!(Capabilities::from_status(""), Capabilities::default());
    }

    #[test]
    fn versions() {
        for (release, version) in [
            ("6.18.44-custom", Some((6, 18))),
            ("5.10.0-28-amd64", Some((5, 10))),
            ("7.2-rc1", Some((7, 2))),
            ("6.1+", Some((6, 1))),
            ("next", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(parse_version(release), version, "{release}");
        }
    }

    #[test]
    fn this_machine() {
        let btf = Btf::from_kernel();
        let facts = Facts::gather(btf.as_ref());
        assert!(facts.version.is_some());
        assert_eq!(facts.btf.is_yes(), btf.is_ok());
        assert_eq!(facts.probes, ProbeKinds::default());
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
        // Whoever may trace may make a map, and the other way round it is refused for one of our reasons.
        assert!(require(&facts).is_err() || facts.bpf.is_yes());
    }
}
