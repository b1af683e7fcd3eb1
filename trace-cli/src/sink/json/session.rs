//! The `session` record.

use serde::Serialize;

use crate::session::{NotProbed, PlanRow, Sample, Session};

#[derive(Serialize)]
pub(super) struct SessionRecord<'a> {
    schema_version: u32,
    version: &'a str,
    host: &'a str,
    kernel: &'a str,
    arch: &'a str,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<Sample>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetRecord>,
    time: String,
    start_ns: u64,
    clock: Clock,
    attach_plan: Vec<Plan<'a>>,
    not_probed: Vec<Missing<'a>>,
}

#[derive(Serialize)]
struct BudgetRecord {
    share: f64,
    cpus: u32,
}

#[derive(Serialize)]
struct Clock {
    offset_ns: i64,
    uncertainty_ns: u64,
}

#[derive(Serialize)]
struct Plan<'a> {
    hook: &'a str,
    kind: &'a str,
    target: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<&'a str>,
}

#[derive(Serialize)]
struct Missing<'a> {
    stage: &'a str,
    why: &'a str,
}

pub(super) fn record(session: &Session) -> SessionRecord<'_> {
    SessionRecord {
        schema_version: session.schema_version,
        version: &session.version,
        host: &session.host,
        kernel: &session.kernel,
        arch: &session.arch,
        command: &session.command,
        filter: session.filter.as_deref(),
        sample: session.sample,
        budget: session.budget.map(|budget| BudgetRecord {
            share: budget.share.part(),
            cpus: budget.cpus,
        }),
        time: session.clock.rfc3339(session.start_ns),
        start_ns: session.start_ns,
        clock: Clock {
            offset_ns: session.clock.offset_ns,
            uncertainty_ns: session.clock.uncertainty_ns,
        },
        attach_plan: session.attach_plan.iter().map(plan).collect(),
        not_probed: session.not_probed.iter().map(missing).collect(),
    }
}

fn plan(row: &PlanRow) -> Plan<'_> {
    Plan {
        hook: &row.hook,
        kind: &row.kind,
        target: &row.target,
        state: row.state.as_str(),
        reason: row.reason.as_deref(),
        netns: row.netns.as_deref(),
    }
}

fn missing(stage: &NotProbed) -> Missing<'_> {
    Missing {
        stage: &stage.stage,
        why: &stage.why,
    }
}
