//! Why the kernel says it dropped a packet: numbers to names.
//!
//! The numbers of `enum skb_drop_reason` change with each kernel release, so the names come from the running kernel's
//! BTF. Since 6.4 a reason's upper 16 bits are the subsystem that gave it (`enum skb_drop_reason_subsys`); the names of
//! those reasons are in an enum of the subsystem (`mac80211_drop_reason`, `ovs_drop_reason`, on 7.2 also
//! `qdisc_drop_reason`), often in a module.
//! Kernels before 5.17 give no reasons.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::btf::{Btf, VMLINUX};

const CORE: &str = "skb_drop_reason";
const SUBSYSTEMS: &str = "skb_drop_reason_subsys";
const PREFIX: &str = "SKB_DROP_REASON_";
/// `SKB_DROP_REASON_SUBSYS_SHIFT`, a macro, hence not in BTF.
const SUBSYSTEM_SHIFT: u32 = 16;

/// The drop reasons of one kernel.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DropReasons {
    names: BTreeMap<u32, String>,
}

impl DropReasons {
    /// Those of the running kernel and its loaded modules. A module whose BTF cannot be read is passed over: its
    /// reasons come out as unknown.
    pub fn from_kernel(btf: &Btf) -> Self {
        let mut reasons = Self::from_btf(btf);
        for module in modules_with_reasons(btf) {
            if let Ok(module) = btf.module(&module) {
                reasons.add(&module);
            }
        }
        reasons
    }

    /// Those that one BTF blob has.
    pub fn from_btf(btf: &Btf) -> Self {
        let mut reasons = Self::default();
        for (name, value) in btf.enum_values(CORE).unwrap_or_default() {
            // Two markers of the enum are never given as a reason.
            if let (Ok(code), false) = (
                u32::try_from(value),
                name.ends_with("_MAX") || name.ends_with("_MASK"),
            ) {
                let name = name.strip_prefix(PREFIX).unwrap_or(&name);
                reasons.names.entry(code).or_insert_with(|| name.to_owned());
            }
        }
        reasons.add(btf);
        reasons
    }

    /// Adds the reasons of subsystems: of every enum called `…drop_reason`, those values that carry the number of a
    /// subsystem. (Other values are not for us: drivers number their own from 0, mac80211 repeats some of the core's.)
    fn add(&mut self, btf: &Btf) {
        let known: Vec<u32> = subsystems(btf)
            .into_iter()
            .map(|(_, number)| number)
            .collect();
        for list in btf.enum_names(|name| name.ends_with("drop_reason") && name != CORE) {
            for (name, value) in btf.enum_values(&list).unwrap_or_default() {
                let Ok(code) = u32::try_from(value) else {
                    continue;
                };
                let name = name.trim_start_matches('_');
                let is_marker = name.ends_with("DROP_REASON") || name.ends_with("_MAX");
                if known.contains(&(code >> SUBSYSTEM_SHIFT)) && !is_marker {
                    self.names.entry(code).or_insert_with(|| name.to_owned());
                }
            }
        }
    }

    /// The kernel's name for a reason, without `SKB_DROP_REASON_`; `UNKNOWN_<n>` when it has none, and plain `UNKNOWN`
    /// when the kernel gives no reasons ([`NO_REASON`](trace_ebpf::DropHead::NO_REASON)).
    pub fn name(&self, code: u32) -> Cow<'_, str> {
        match self.names.get(&code) {
            Some(name) => Cow::Borrowed(name),
            None if code == trace_ebpf::DropHead::NO_REASON => Cow::Borrowed("UNKNOWN"),
            None => Cow::Owned(format!("UNKNOWN_{code}")),
        }
    }

    /// The number of a reason, by its name with or without `SKB_DROP_REASON_`, in upper or lower case.
    pub fn code(&self, name: &str) -> Option<u32> {
        let wanted = name.to_ascii_uppercase();
        let wanted = wanted.strip_prefix(PREFIX).unwrap_or(&wanted);
        self.names
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(wanted))
            .map(|(code, _)| *code)
    }

    /// Whether the kernel gives reasons at all.
    pub fn exist(&self) -> bool {
        !self.names.is_empty()
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(code, name)| (*code, name.as_str()))
    }
}

/// Whether the tracepoint `kfree_skb` is given a reason.
pub fn kfree_skb_has_reason(btf: &Btf) -> bool {
    btf.tracepoint_params("kfree_skb").is_some_and(|params| {
        params
            .iter()
            .any(|param| param.enumeration.as_deref() == Some(CORE))
    })
}

/// Subsystems that give reasons of their own: name in lower case (`mac80211_unusable`), number.
fn subsystems(btf: &Btf) -> Vec<(String, u32)> {
    let values = btf.enum_values(SUBSYSTEMS).unwrap_or_default();
    let strip = |name: &str| {
        name.strip_prefix("SKB_DROP_REASON_SUBSYS_")
            .map(str::to_ascii_lowercase)
    };
    values
        .iter()
        .filter_map(|(name, number)| Some((strip(name)?, u32::try_from(*number).ok()?)))
        .filter(|(name, number)| *number != 0 && name != "num")
        .collect()
}

/// Loaded modules that a subsystem is named after: `mac80211` for `mac80211_unusable`.
fn modules_with_reasons(btf: &Btf) -> Vec<String> {
    let subsystems = subsystems(btf);
    let Some(Ok(folder)) = Path::new(VMLINUX).parent().map(fs::read_dir) else {
        return Vec::new();
    };
    let mut modules: Vec<String> = folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|module| {
            subsystems
                .iter()
                .any(|(name, _)| name.starts_with(module.as_str()))
        })
        .collect();
    modules.sort_unstable();
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::testing::Builder;

    fn kernel() -> Builder {
        let mut builder = Builder::new();
        builder.enumeration(
            CORE,
            false,
            &[
                ("SKB_NOT_DROPPED_YET", 0),
                ("SKB_CONSUMED", 1),
                ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
                ("SKB_DROP_REASON_NO_SOCKET", 3),
                ("SKB_DROP_REASON_MAX", 4),
                ("SKB_DROP_REASON_SUBSYS_MASK", -65536),
            ],
        );
        builder.enumeration(
            SUBSYSTEMS,
            false,
            &[
                ("SKB_DROP_REASON_SUBSYS_CORE", 0),
                ("SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE", 1),
                ("SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 2),
                ("SKB_DROP_REASON_SUBSYS_NUM", 3),
            ],
        );
        builder
    }

    #[test]
    fn core_names() {
        let reasons = DropReasons::from_btf(&Btf::parse(kernel().bytes()).unwrap());
        assert!(reasons.exist());
        assert_eq!(reasons.name(3), "NO_SOCKET");
        assert_eq!(reasons.name(0), "SKB_NOT_DROPPED_YET");
        assert_eq!(reasons.name(4), "UNKNOWN_4");
        assert_eq!(reasons.name(0xffff_0000), "UNKNOWN_4294901760");
        for name in ["NO_SOCKET", "no_socket", "SKB_DROP_REASON_NO_SOCKET"] {
            assert_eq!(reasons.code(name), Some(3));
        }
        assert_eq!(reasons.code("MAX"), None);
    }

    #[test]
    fn reasons_of_subsystems() {
        let kernel = kernel();
        let mut module = Builder::split(&kernel);
        module.enumeration(
            "mac80211_drop_reason",
            false,
            &[
                ("RX_CONTINUE", 1),
                ("___RX_DROP_UNUSABLE", 0x10000),
                ("RX_DROP_U_MIC_FAIL", 0x10001),
            ],
        );
        module.enumeration(
            "ovs_drop_reason",
            false,
            &[
                ("__OVS_DROP_REASON", 0x20000),
                ("OVS_DROP_LAST_ACTION", 0x20001),
            ],
        );
        module.enumeration(
            "driver_drop_reason",
            false,
            &[("OUT_OF_LUCK", 3), ("FAR_OFF", 0x30001)],
        );
        let btf = Btf::parse(kernel.bytes()).unwrap();
        let mut reasons = DropReasons::from_btf(&btf);
        reasons.add(&btf.parse_module(module.bytes()).unwrap());
        assert_eq!(reasons.name(1), "SKB_CONSUMED");
        assert_eq!(reasons.name(3), "NO_SOCKET");
        assert_eq!(reasons.name(0x10000), "RX_DROP_UNUSABLE");
        assert_eq!(reasons.name(0x10001), "RX_DROP_U_MIC_FAIL");
        assert_eq!(reasons.name(0x20000), "UNKNOWN_131072");
        assert_eq!(reasons.name(0x20001), "OVS_DROP_LAST_ACTION");
        assert_eq!(reasons.name(0x30001), "UNKNOWN_196609");
    }

    #[test]
    fn a_kernel_without_reasons() {
        let reasons = DropReasons::from_btf(&Btf::parse(Builder::new().bytes()).unwrap());
        assert!(!reasons.exist());
        assert_eq!(reasons.name(2), "UNKNOWN_2");
        assert_eq!(reasons.name(trace_ebpf::DropHead::NO_REASON), "UNKNOWN");
    }

    #[test]
    fn kept_in_a_recording() {
        let reasons = DropReasons::from_btf(&Btf::parse(kernel().bytes()).unwrap());
        let json = serde_json::to_string(&reasons).unwrap();
        assert_eq!(serde_json::from_str::<DropReasons>(&json).unwrap(), reasons);
    }

    #[test]
    fn running_kernel() {
        if !Path::new(VMLINUX).exists() {
            return;
        }
        let btf = Btf::from_kernel().unwrap();
        let reasons = DropReasons::from_kernel(&btf);
        assert_eq!(reasons.exist(), kfree_skb_has_reason(&btf));
        if reasons.exist() {
            let code = reasons.code("NO_SOCKET").unwrap();
            assert_eq!(reasons.name(code), "NO_SOCKET");
            assert!(reasons.iter().all(|(_, name)| !name.starts_with(PREFIX)));
        }
    }
}
