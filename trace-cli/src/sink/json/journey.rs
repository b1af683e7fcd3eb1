//! The `journey` record.

use std::borrow::Cow;

use serde::Serialize;

use super::flow::{self, FlowRecord};
use super::place::{self, Place};
use crate::dictionary::Dictionary;
use crate::journey::model::{Direction, Drop, Journey, Leg, Poll, Process, Stage};
use crate::sink::names as words;

#[derive(Serialize)]
pub(super) struct JourneyRecord<'a> {
    id: u64,
    direction: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<FlowRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rewrites: Vec<FlowRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    len: u32,
    ether_type: u16,
    time: String,
    start_ns: u64,
    total_ns: u64,
    legs: Vec<LegRecord<'a>>,
    stages: Vec<StageRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<DropDetail<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<ProcessRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<ProcessRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    polls: Vec<PollRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkRecord>,
}

#[derive(Serialize)]
struct LegRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_name: Option<&'a str>,
    direction: &'static str,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(rename = "in_index", skip_serializing_if = "Option::is_none")]
    input_index: Option<u32>,
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(rename = "out_index", skip_serializing_if = "Option::is_none")]
    output_index: Option<u32>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished: Option<&'static str>,
}

#[derive(Serialize)]
struct StageRecord {
    stage: &'static str,
    leg: u16,
    start_ns: u64,
    ns: u64,
    cpu: u16,
    state: &'static str,
}

#[derive(Serialize)]
struct DropDetail<'a> {
    reason: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_false")]
    reason_inferred: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<u32>,
    stage: &'static str,
    time_ns: u64,
    cpu: u16,
    #[serde(flatten)]
    place: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<Vec<Place<'a>>>,
}

#[derive(Serialize)]
struct ProcessRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct PollRecord<'a> {
    leg: u16,
    cpu: u16,
    work: u32,
    budget: u32,
    ns: u64,
    backlog: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface_index: Option<u32>,
    irq: Option<u16>,
    softirq_ns: Option<u64>,
}

#[derive(Serialize)]
struct LinkRecord {
    kind: &'static str,
    journey: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}

pub(super) fn record<'a>(
    journey: &'a Journey,
    names: &'a Dictionary,
    stacks: bool,
) -> JourneyRecord<'a> {
    let first = journey.legs.first();
    let sender = journey.sender.as_ref().map(|p| process(p, names));
    let receiver = journey.receiver.as_ref().map(|p| process(p, names));
    let owner = match journey.direction {
        Direction::Transmit => journey.sender.as_ref(),
        _ => journey.receiver.as_ref().or(journey.sender.as_ref()),
    };
    JourneyRecord {
        id: journey.id.0,
        direction: words::direction(journey.direction),
        outcome: words::outcome(journey.outcome),
        unfinished: words::unfinished(journey.outcome),
        partial: journey.partial,
        flow: journey.flow.as_ref().map(flow::of_packet),
        rewrites: journey.rewrites.iter().map(flow::of_packet).collect(),
        interface: first.and_then(|leg| names.interface(leg.netns, leg.input.or(leg.output)?)),
        netns: first.and_then(netns),
        len: journey.len,
        ether_type: journey.ether_type,
        time: names.clock().rfc3339(journey.start),
        start_ns: journey.start,
        total_ns: journey.total,
        legs: journey.legs.iter().map(|l| leg(l, names)).collect(),
        stages: journey.stages.iter().map(stage).collect(),
        drop: journey.drop.as_ref().map(|d| drop_detail(d, names, stacks)),
        process: owner.map(|p| process(p, names)),
        sender,
        receiver,
        polls: journey
            .polls
            .iter()
            .map(|p| poll(p, journey, names))
            .collect(),
        links: journey
            .links
            .iter()
            .map(|l| LinkRecord {
                kind: words::link(l.kind),
                journey: l.journey.0,
            })
            .collect(),
    }
}

fn netns(leg: &Leg) -> Option<u32> {
    Some(leg.netns).filter(|&netns| netns != 0)
}

fn leg<'a>(leg: &Leg, names: &'a Dictionary) -> LegRecord<'a> {
    let name = |index: Option<u32>| names.interface(leg.netns, index?);
    LegRecord {
        netns: netns(leg),
        netns_name: names.namespace(leg.netns),
        direction: words::direction(leg.direction),
        input: name(leg.input),
        input_index: leg.input,
        output: name(leg.output),
        output_index: leg.output,
        outcome: words::outcome(leg.outcome),
        unfinished: words::unfinished(leg.outcome),
    }
}

fn stage(stage: &Stage) -> StageRecord {
    StageRecord {
        stage: stage.name.as_str(),
        leg: stage.leg,
        start_ns: stage.start,
        ns: stage.ns,
        cpu: stage.cpu,
        state: words::state(stage.state),
    }
}

fn drop_detail<'a>(drop: &'a Drop, names: &'a Dictionary, stacks: bool) -> DropDetail<'a> {
    let reason = names.drop_reason_at(drop.reason, Some(drop.location));
    DropDetail {
        reason: reason.name,
        reason_inferred: reason.inferred,
        reason_code: drop.reason,
        stage: drop.stage.as_str(),
        time_ns: drop.time,
        cpu: drop.cpu,
        place: Some(drop.location)
            .filter(|&at| at != 0)
            .map(|at| place::place(at, names)),
        stack: if stacks {
            place::stack(&drop.stack, names)
        } else {
            None
        },
    }
}

fn process<'a>(process: &'a Process, names: &'a Dictionary) -> ProcessRecord<'a> {
    let known = names.thread(process.pid);
    let name = Some(&*process.name).filter(|name| !name.is_empty());
    ProcessRecord {
        pid: [Some(process.tgid), known.map(|t| t.tgid)]
            .into_iter()
            .flatten()
            .find(|&pid| pid != 0),
        tid: process.pid,
        name: name.or(known.map(|t| t.name.as_str())),
    }
}

fn poll<'a>(poll: &Poll, journey: &Journey, names: &'a Dictionary) -> PollRecord<'a> {
    let index = Some(poll.ifindex).filter(|&index| index != 0);
    let netns = journey
        .legs
        .get(usize::from(poll.leg))
        .map_or(0, |leg| leg.netns);
    PollRecord {
        leg: poll.leg,
        cpu: poll.cpu,
        work: poll.work,
        budget: poll.budget,
        ns: poll.ns,
        backlog: index.is_none(),
        interface: index.and_then(|index| names.interface(netns, index)),
        interface_index: index,
        irq: poll.irq,
        softirq_ns: poll.softirq,
    }
}
