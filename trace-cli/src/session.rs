//! Where, when and how a trace was made: the first thing in any output, and in a recording.

use serde::{Deserialize, Serialize};

use crate::{budget::Budget, kernel::clock::ClockOffset};

/// Version of the JSON records (`docs/output.md`). A new field keeps it; a field that goes or changes its meaning
/// raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// One run of the tool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// [`SCHEMA_VERSION`] of the program that traced.
    pub schema_version: u32,
    /// Version of the program that traced.
    pub version: String,
    /// Host name.
    pub host: String,
    /// Kernel release, as `uname -r` has it.
    pub kernel: String,
    /// Machine, as `uname -m` has it.
    pub arch: String,
    /// From monotonic to wall time.
    pub clock: ClockOffset,
    /// When it began, monotonic nanoseconds.
    pub start_ns: u64,
    /// `trace`, `latency`, `drops` …
    pub command: String,
    /// The filter expression; `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Which part of the flows was followed; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// What tracing might cost; `None`: whatever it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Which hook got which probe on this kernel.
    pub attach_plan: Vec<PlanRow>,
    /// Stages that nobody will see here.
    pub not_probed: Vec<NotProbed>,
}

/// A part of the flows, chosen by [`trace_ebpf::sample`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// One in so many.
    pub one_in: u32,
}

/// What became of one probe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanRow {
    /// The hook's name.
    pub hook: String,
    /// The kind used, or the last one tried: `tp_btf`, `fentry`, `fexit`, `raw_tp`, `kprobe`, `kretprobe`, `nf`.
    pub kind: String,
    /// Tracepoint, function or netfilter hook.
    pub target: String,
    /// What became of it.
    pub state: PlanState,
    /// Why it failed or was skipped; of a row that is attached, which better kinds were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Namespace of a netfilter bookend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
}

/// Whether a probe is in place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// It is.
    Attached,
    /// The kernel refused it.
    Failed,
    /// It was not tried.
    Skipped,
}

impl PlanState {
    /// The word used in all output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A stage that is not visible on this kernel, or with these privileges.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotProbed {
    /// Its name (see [`StageName::as_str`](crate::journey::stage::StageName::as_str)).
    pub stage: String,
    /// Why.
    pub why: String,
}

impl Session {
    /// How many probes are in place.
    pub fn attached(&self) -> usize {
        self.attach_plan
            .iter()
            .filter(|row| row.state == PlanState::Attached)
            .count()
    }
}
