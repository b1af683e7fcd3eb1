//! The attach plan: which hook got which probe kind on this kernel, and what could not be attached and why.

use std::collections::BTreeSet;

use trace_ebpf::Hook;

use super::{Kind, catalogue::CATALOGUE};
use crate::journey::stage::StageName;

/// What became of one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// The probe is in place.
    Attached,
    /// The kernel refused; why.
    Failed(String),
    /// Not tried; why.
    Skipped(String),
}

/// One line of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The hook's name in the catalogue.
    pub hook: &'static str,
    /// The stamp it takes.
    pub stamp: Option<Hook>,
    /// The kind used, or the last one tried.
    pub kind: Kind,
    /// Tracepoint, function, or netfilter hook.
    pub target: String,
    /// Network namespace, for netfilter bookends.
    pub netns: Option<String>,
    /// What became of it.
    pub state: State,
    /// Better kinds that the kernel refused before, and why.
    pub refused: Option<String>,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// In the catalogue's order; bookends last.
    pub rows: Vec<Row>,
}

impl Plan {
    /// Whether any probe of the hook is in place.
    pub fn attached(&self, hook: &str) -> bool {
        self.rows
            .iter()
            .any(|row| row.hook == hook && row.state == State::Attached)
    }

    /// The stamps that can be expected.
    pub fn stamps(&self) -> BTreeSet<Hook> {
        self.rows
            .iter()
            .filter(|row| row.state == State::Attached)
            .filter_map(|row| row.stamp)
            .collect()
    }

    /// The stages that nobody will see, each with the reason.
    pub fn not_probed(&self) -> Vec<(StageName, String)> {
        let bookends = self.attached("nf_first");
        StageName::ALL
            .iter()
            .filter_map(|&stage| {
                let needed: Vec<_> = CATALOGUE
                    .iter()
                    .filter(|spec| spec.stages.contains(&stage))
                    .collect();
                let mut seen = needed.iter().map(|spec| self.attached(spec.name));
                let visible = match stage {
                    // its beginning and its end are hooks of its own
                    StageName::Qdisc => seen.all(|attached| attached),
                    // it begins there and nowhere else
                    StageName::Completion => self.attached("xmit_done"),
                    _ => needed.is_empty() || seen.any(|attached| attached),
                };
                if visible {
                    return None;
                }
                if bookends && by_bookends(stage) {
                    return None;
                }
                let reason = needed
                    .iter()
                    .flat_map(|spec| self.rows.iter().filter(|row| row.hook == spec.name))
                    .find_map(|row| match &row.state {
                        State::Failed(why) | State::Skipped(why) => Some(why.clone()),
                        State::Attached => None,
                    })
                    .unwrap_or_else(|| "not tried".to_owned());
                Some((stage, reason))
            })
            .collect()
    }
}

/// Stages that netfilter bookends bound.
fn by_bookends(stage: StageName) -> bool {
    matches!(
        stage,
        StageName::Ip
            | StageName::Prerouting
            | StageName::Routing
            | StageName::Input
            | StageName::Forward
            | StageName::Transport
            | StageName::Output
            | StageName::Postrouting
            | StageName::Neighbour
    )
}
