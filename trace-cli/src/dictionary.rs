//! Numbers to names: all that a journey leaves as a number, and a reader wants as a word.
//!
//! The pipeline fills it while it learns names (devices, namespaces, addresses); sinks only read it. It is plain data,
//! so a recording carries it, and reading that elsewhere prints the same words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inference;
use crate::kernel::clock::ClockOffset;
use crate::kernel::symbols::{Symbol, SymbolTable};

/// A thread's process and name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Thread {
    /// Process id; 0 when not known.
    pub tgid: u32,
    /// `comm`.
    pub name: String,
}

/// Why a packet was dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason<'a> {
    /// The kernel's name; several joined by `|` where an inference leaves several open.
    pub name: Cow<'a, str>,
    /// The kernel gave none: these are the reasons that the function allows.
    pub inferred: bool,
}

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.inferred {
            f.write_str(" (inferred)")?;
        }
        Ok(())
    }
}

/// What the numbers of one session mean.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dictionary {
    clock: ClockOffset,
    /// By namespace inode, then by interface index.
    #[serde(default)]
    interfaces: BTreeMap<u32, BTreeMap<u32, String>>,
    #[serde(default)]
    namespaces: BTreeMap<u32, String>,
    #[serde(default)]
    drop_reasons: BTreeMap<u32, String>,
    #[serde(default)]
    symbols: SymbolTable,
    #[serde(default)]
    threads: BTreeMap<u32, Thread>,
}

impl Default for Dictionary {
    /// Knows nothing, and takes monotonic time for wall time.
    fn default() -> Self {
        Self::new(ClockOffset {
            offset_ns: 0,
            uncertainty_ns: 0,
        })
    }
}

impl Dictionary {
    /// Knows the time and nothing else.
    pub fn new(clock: ClockOffset) -> Self {
        Self {
            clock,
            interfaces: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            drop_reasons: BTreeMap::new(),
            symbols: SymbolTable::default(),
            threads: BTreeMap::new(),
        }
    }

    /// Names an interface; a later name (it was renamed, its index used again) replaces the earlier.
    pub fn insert_interface(&mut self, netns: u32, index: u32, name: impl Into<String>) {
        self.interfaces
            .entry(netns)
            .or_default()
            .insert(index, name.into());
    }

    /// Names a network namespace.
    pub fn insert_namespace(&mut self, netns: u32, name: impl Into<String>) {
        self.namespaces.insert(netns, name.into());
    }

    /// Names a drop reason, without the `SKB_DROP_REASON_` prefix.
    pub fn insert_drop_reason(&mut self, code: u32, name: impl Into<String>) {
        self.drop_reasons.insert(code, name.into());
    }

    /// Says what lies at a kernel address (for places and stacks: what called, see
    /// [`Resolve::resolve_return`](crate::kernel::symbols::Resolve::resolve_return)).
    pub fn insert_symbol(&mut self, address: u64, symbol: Symbol) {
        self.symbols.insert(address, symbol);
    }

    /// Names a thread.
    pub fn insert_thread(&mut self, tid: u32, thread: Thread) {
        self.threads.insert(tid, thread);
    }

    /// From monotonic to wall time.
    pub const fn clock(&self) -> ClockOffset {
        self.clock
    }

    /// An interface's name, where known.
    pub fn interface(&self, netns: u32, index: u32) -> Option<&str> {
        self.interfaces.get(&netns)?.get(&index).map(String::as_str)
    }

    /// A network namespace's name, where known.
    pub fn namespace(&self, netns: u32) -> Option<&str> {
        self.namespaces.get(&netns).map(String::as_str)
    }

    /// A drop reason's name, as the kernel has it; `UNKNOWN_<n>` when it has none, `UNKNOWN` when the kernel gave no
    /// reason.
    pub fn drop_reason(&self, code: Option<u32>) -> Cow<'_, str> {
        let Some(code) = code else {
            return Cow::Borrowed("UNKNOWN");
        };
        match self.drop_reasons.get(&code) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("UNKNOWN_{code}")),
        }
    }

    /// A drop's reason: the kernel's, or, where it gave none, those that the place allows.
    pub fn drop_reason_at(&self, code: Option<u32>, location: Option<u64>) -> Reason<'_> {
        let function = || self.symbol(location?)?.function.as_deref();
        let inferred = match code {
            Some(_) => None,
            None => function().and_then(inference::reasons),
        };
        Reason {
            name: inferred.map_or_else(|| self.drop_reason(code), Cow::Borrowed),
            inferred: inferred.is_some(),
        }
    }

    /// The number that this kernel has for a drop reason.
    pub fn drop_reason_code(&self, name: &str) -> Option<u32> {
        self.drop_reasons
            .iter()
            .find_map(|(&code, known)| (known == name).then_some(code))
    }

    /// What lies at a kernel address, where known.
    pub fn symbol(&self, address: u64) -> Option<&Symbol> {
        self.symbols.get(address)
    }

    /// Whether the address was asked for before, even when nothing is known of it.
    pub fn has_symbol(&self, address: u64) -> bool {
        self.symbol(address).is_some()
    }

    /// A thread, where known.
    pub fn thread(&self, tid: u32) -> Option<&Thread> {
        self.threads.get(&tid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_told_apart_by_namespace() {
        let mut names = Dictionary::default();
        names.insert_interface(1, 2, "eth0");
        names.insert_interface(9, 2, "veth0");
        names.insert_interface(9, 2, "renamed0");
        assert_eq!(names.interface(1, 2), Some("eth0"));
        assert_eq!(names.interface(9, 2), Some("renamed0"));
        assert_eq!(names.interface(9, 3), None);
    }

    #[test]
    fn unknown_reasons_keep_their_number() {
        assert_eq!(Dictionary::default().drop_reason(Some(77)), "UNKNOWN_77");
        assert_eq!(Dictionary::default().drop_reason(None), "UNKNOWN");
    }

    #[test]
    fn what_the_kernel_does_not_say_is_inferred_from_the_place() {
        let mut names = Dictionary::default();
        let symbol = |function: &str| Symbol {
            function: Some(function.to_owned()),
            ..Symbol::default()
        };
        names.insert_drop_reason(3, "NO_SOCKET");
        names.insert_symbol(1, symbol("nf_hook_slow"));
        names.insert_symbol(2, symbol("elsewhere"));
        let reason = |code, at| names.drop_reason_at(code, at).to_string();
        assert_eq!(reason(Some(3), Some(1)), "NO_SOCKET");
        assert_eq!(reason(None, Some(1)), "NETFILTER_DROP (inferred)");
        assert_eq!(reason(None, Some(2)), "UNKNOWN");
        assert_eq!(reason(None, None), "UNKNOWN");
    }

    #[test]
    fn survives_a_recording() {
        let mut names = Dictionary::default();
        names.insert_interface(4_026_531_840, 2, "eth0");
        names.insert_namespace(4_026_531_840, "host");
        names.insert_drop_reason(3, "NO_SOCKET");
        names.insert_symbol(u64::MAX, Symbol::default());
        names.insert_thread(
            7,
            Thread {
                tgid: 6,
                name: "curl".into(),
            },
        );
        let text = serde_json::to_string(&names).expect("serialises");
        assert_eq!(
            serde_json::from_str::<Dictionary>(&text).expect("reads back"),
            names
        );
    }
}
