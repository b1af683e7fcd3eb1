//! The records that close a trace: `latency`, `drop`, `warning`, `end`.

use std::borrow::Cow;

use serde::Serialize;

use super::flow::{self, FlowRecord};
use super::journey::is_false;
use super::place::{self, Place};
use crate::aggregate::drops::{DropGroup, GroupFlow};
use crate::aggregate::latency::{Excluded, LatencyRow};
use crate::dictionary::Dictionary;
use crate::journey::model::{Ledger, Losses};
use crate::sink::{End, Warning, names as words};

#[derive(Serialize)]
pub(super) struct LatencyRecord {
    direction: &'static str,
    stage: &'static str,
    state: &'static str,
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
    sum_ns: u64,
    share: f64,
}

/// The row of a direction's journeys from end to end.
const TOTAL: &str = "total";

pub(super) fn latency(row: &LatencyRow) -> LatencyRecord {
    LatencyRecord {
        direction: words::direction(row.direction),
        stage: row.stage.map_or(TOTAL, |stage| stage.as_str()),
        state: words::state(row.state),
        count: row.count,
        p50_ns: row.p50_ns,
        p90_ns: row.p90_ns,
        p99_ns: row.p99_ns,
        p999_ns: row.p999_ns,
        max_ns: row.max_ns,
        sum_ns: u64::try_from(row.sum_ns).unwrap_or(u64::MAX),
        share: row.share,
    }
}

#[derive(Serialize)]
pub(super) struct DropRecord<'a> {
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_false")]
    reason_inferred: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    first_ns: u64,
    last_ns: u64,
    #[serde(flatten)]
    place: Option<Place<'a>>,
    flows: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<FlowRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<Vec<Place<'a>>>,
}

pub(super) fn drop<'a>(group: &DropGroup, names: &'a Dictionary, stacks: bool) -> DropRecord<'a> {
    let (flows, flow) = match group.flow {
        GroupFlow::Of(flow) => ("one", Some(flow::of_flow(flow))),
        GroupFlow::NoHeaders => ("no_headers", None),
        GroupFlow::Others => ("others", None),
    };
    // Only the group of all that found no room has no stage.
    let known = group.stage;
    let reason = known.map(|_| names.drop_reason_at(group.reason, group.location));
    DropRecord {
        count: group.count,
        reason_inferred: reason.as_ref().is_some_and(|reason| reason.inferred),
        reason: reason.map(|reason| reason.name),
        reason_code: group.reason,
        stage: group.stage.map(|stage| stage.as_str()),
        first_ns: group.first,
        last_ns: group.last,
        place: group.location.map(|at| place::place(at, names)),
        flows,
        flow,
        stack: if stacks {
            place::stack(&group.stack, names)
        } else {
            None
        },
    }
}

#[derive(Serialize)]
pub(super) struct WarningRecord<'a> {
    code: &'static str,
    message: &'a str,
}

pub(super) fn warning(warning: &Warning) -> WarningRecord<'_> {
    WarningRecord {
        code: warning.code,
        message: &warning.message,
    }
}

#[derive(Serialize)]
pub(super) struct EndRecord {
    duration_ns: u64,
    matched: u64,
    ledger: LedgerRecord,
    losses: LossesRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<SampleRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<AccountRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_excluded: Option<ExcludedRecord>,
}

#[derive(Serialize)]
struct LedgerRecord {
    seen: u64,
    delivered: u64,
    sent: u64,
    forwarded: u64,
    dropped: u64,
    consumed: u64,
    unfinished: u64,
    lost: u64,
}

#[derive(Serialize)]
struct LossesRecord {
    segments: u64,
    births: u64,
    records: u64,
    late: u64,
    damaged: u64,
    evicted: u64,
    missed: u64,
}

#[derive(Serialize)]
struct SampleRecord {
    one_in: u32,
    segments_left_out: u64,
}

#[derive(Serialize)]
struct AccountRecord {
    share: f64,
    took: f64,
    programs_ns: u64,
    own_ns: u64,
    sample_changes: u32,
}

#[derive(Serialize)]
struct ExcludedRecord {
    dropped: u64,
    unfinished: u64,
    partial: u64,
}

pub(super) fn end(end: &End, excluded: Option<Excluded>) -> EndRecord {
    // Taken apart, so that a new cause cannot be forgotten here.
    let Ledger {
        seen,
        delivered,
        sent,
        forwarded,
        dropped,
        consumed,
        unfinished,
        lost,
    } = end.ledger;
    let Losses {
        segments,
        births,
        records,
        late,
        damaged,
        evicted,
        missed,
    } = end.losses;
    EndRecord {
        duration_ns: u64::try_from(end.duration.as_nanos()).unwrap_or(u64::MAX),
        matched: end.matched,
        ledger: LedgerRecord {
            seen,
            delivered,
            sent,
            forwarded,
            dropped,
            consumed,
            unfinished,
            lost,
        },
        losses: LossesRecord {
            segments,
            births,
            records,
            late,
            damaged,
            evicted,
            missed,
        },
        sample: end.sample.map(|(sample, left_out)| SampleRecord {
            one_in: sample.one_in,
            segments_left_out: left_out,
        }),
        budget: end.budget.map(|account| AccountRecord {
            share: account.budget.part(),
            took: account.took.part(),
            programs_ns: account.spent.programs_ns,
            own_ns: account.spent.own_ns,
            sample_changes: account.changes,
        }),
        latency_excluded: excluded.map(
            |Excluded {
                 dropped,
                 unfinished,
                 partial,
             }| ExcludedRecord {
                dropped,
                unfinished,
                partial,
            },
        ),
    }
}
