//! Probe kinds, from cheap to dear.

use std::{fmt, str::FromStr};

/// How an eBPF program is tied to a hook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Tracepoint, with typed arguments: plain loads.
    TpBtf,
    /// Function entry by trampoline: plain loads.
    Fentry,
    /// Function return by trampoline.
    Fexit,
    /// Tracepoint, untyped: every read is a helper call.
    RawTp,
    /// Function entry by breakpoint or ftrace.
    Kprobe,
    /// Function return.
    Kretprobe,
    /// Netfilter programs around a netfilter hook. They stand in the data path (and always accept).
    Nf,
}

impl Kind {
    /// The name used on the command line and in all output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::RawTp => "raw_tp",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Nf => "nf",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds a user allows (`--probes`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds {
    /// tp_btf
    pub tp_btf: bool,
    /// fentry and fexit
    pub fentry: bool,
    /// raw_tp
    pub raw_tp: bool,
    /// kprobe and kretprobe
    pub kprobe: bool,
    /// netfilter bookends, in the namespaces named
    pub nf: bool,
}

impl Kinds {
    /// Whatever is cheapest, but nothing that stands in the data path.
    pub const AUTO: Self = Self {
        tp_btf: true,
        fentry: true,
        raw_tp: true,
        kprobe: true,
        nf: false,
    };
    const NONE: Self = Self {
        tp_btf: false,
        fentry: false,
        raw_tp: false,
        kprobe: false,
        nf: false,
    };

    /// Kprobes were asked for, and nothing typed: functions come before tracepoints.
    pub const fn prefers_functions(self) -> bool {
        self.kprobe && !self.tp_btf && !self.fentry
    }

    /// Kinds for a tracepoint, best first.
    pub fn for_tracepoint(self) -> impl Iterator<Item = Kind> {
        // kprobes alone still mean "kprobes and tracepoints": a tracepoint is no function
        let raw = self.raw_tp || self.kprobe;
        [(self.tp_btf, Kind::TpBtf), (raw, Kind::RawTp)]
            .into_iter()
            .filter_map(|(allowed, kind)| allowed.then_some(kind))
    }

    /// Kinds for a function's entry, best first.
    pub fn for_function(self) -> impl Iterator<Item = Kind> {
        [(self.fentry, Kind::Fentry), (self.kprobe, Kind::Kprobe)]
            .into_iter()
            .filter_map(|(allowed, kind)| allowed.then_some(kind))
    }

    /// Kinds for a function's return, best first.
    pub fn for_return(self) -> impl Iterator<Item = Kind> {
        [(self.fentry, Kind::Fexit), (self.kprobe, Kind::Kretprobe)]
            .into_iter()
            .filter_map(|(allowed, kind)| allowed.then_some(kind))
    }
}

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut kinds = Self::NONE;
        for word in text.split(',') {
            match word.trim() {
                "auto" => {
                    let nf = kinds.nf;
                    kinds = Self { nf, ..Self::AUTO };
                }
                "tp_btf" => kinds.tp_btf = true,
                "fentry" => kinds.fentry = true,
                "raw_tp" => kinds.raw_tp = true,
                "kprobe" => kinds.kprobe = true,
                "nf" => kinds.nf = true,
                other => {
                    return Err(format!(
                        "unknown probe kind `{other}`: auto, tp_btf, fentry, raw_tp, kprobe or nf"
                    ));
                }
            }
        }
        Ok(kinds)
    }
}
