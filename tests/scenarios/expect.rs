//! Journeys as text: those that came out, and those that the scenario expects, in one form.

use std::fmt::Write as _;

use pktjourney::journey::{
    assembler::Assembler,
    flow,
    model::{Direction, Flow, Journey, LinkKind, Outcome, Process, StageState, Unfinished},
};

use crate::spec::{LedgerSpec, Scenario};
use crate::wire::headers;

fn list(out: &mut String, key: &str, values: &[String]) {
    if values.is_empty() && key != "stages" {
        return;
    }
    let quoted: Vec<String> = values.iter().map(|v| format!("  \"{v}\",\n")).collect();
    if quoted.len() > 1 {
        let _ = writeln!(out, "{key} = [\n{}]", quoted.concat());
    } else {
        let _ = writeln!(
            out,
            "{key} = [{}]",
            quoted.concat().trim().trim_end_matches(',')
        );
    }
}

fn text(out: &mut String, key: &str, value: Option<&String>) {
    if let Some(value) = value {
        let _ = writeln!(out, "{key} = \"{value}\"");
    }
}

pub fn expected(scenario: &Scenario) -> String {
    let mut out = String::new();
    for e in &scenario.journey {
        let _ = writeln!(out, "\n[[journey]]");
        text(&mut out, "direction", Some(&e.direction));
        text(&mut out, "outcome", Some(&e.outcome));
        text(&mut out, "packet", e.packet.as_ref());
        let _ = writeln!(out, "start = {}", e.start);
        list(&mut out, "legs", &e.legs);
        list(&mut out, "stages", &e.stages);
        list(&mut out, "links", &e.links);
        text(&mut out, "sender", e.sender.as_ref());
        text(&mut out, "receiver", e.receiver.as_ref());
        list(&mut out, "polls", &e.polls);
        text(&mut out, "drop", e.drop.as_ref());
        if e.partial {
            let _ = writeln!(out, "partial = true");
        }
        list(&mut out, "rewrites", &e.rewrites);
    }
    out
}

/// The journeys that came out, as a scenario would write them.
pub fn render(scenario: &Scenario, journeys: &[Journey]) -> String {
    let mut out = String::new();
    let named = |flow: &Flow| {
        let found = scenario.packets.iter().find(|(_, packet)| {
            flow::parse(&headers(packet), 0x0800, 0)
                .or_else(|| flow::parse(&headers(packet), 0x86dd, 0))
                .as_ref()
                == Some(flow)
        });
        found.map_or_else(|| format!("{flow:?}"), |(name, _)| name.clone())
    };
    for j in journeys {
        let _ = writeln!(out, "\n[[journey]]");
        text(
            &mut out,
            "direction",
            Some(&direction(j.direction).to_owned()),
        );
        text(&mut out, "outcome", Some(&outcome(j.outcome)));
        text(&mut out, "packet", j.flow.as_ref().map(named).as_ref());
        let _ = writeln!(out, "start = {}", j.start);
        let legs: Vec<String> = j
            .legs
            .iter()
            .map(|l| {
                let input = l.input.map_or(String::new(), |i| format!(" in {i}"));
                let output = l.output.map_or(String::new(), |i| format!(" out {i}"));
                let way = direction(l.direction);
                format!(
                    "{way} netns {}{input}{output}: {}",
                    l.netns,
                    outcome(l.outcome)
                )
            })
            .collect();
        list(&mut out, "legs", &legs);
        let stages: Vec<String> = j
            .stages
            .iter()
            .map(|s| {
                let gap = if s.state == StageState::Gap {
                    " gap"
                } else {
                    ""
                };
                format!("{} {} {}{gap}", s.leg, s.name.as_str(), s.ns)
            })
            .collect();
        list(&mut out, "stages", &stages);
        let links: Vec<String> = j
            .links
            .iter()
            .map(|l| {
                let kind = match l.kind {
                    LinkKind::CloneOf => "clone_of",
                    LinkKind::MergedInto => "merged_into",
                    LinkKind::SplitFrom => "split_from",
                    LinkKind::RetransmitOf => "retransmit_of",
                };
                format!("{kind} {}", l.journey.0)
            })
            .collect();
        list(&mut out, "links", &links);
        let process = |p: &Process| format!("{} {}", p.pid, p.name).trim().to_owned();
        text(&mut out, "sender", j.sender.as_ref().map(process).as_ref());
        text(
            &mut out,
            "receiver",
            j.receiver.as_ref().map(process).as_ref(),
        );
        let polls: Vec<String> = j
            .polls
            .iter()
            .map(|p| {
                let irq = p.irq.map_or(String::new(), |irq| format!(", irq {irq}"));
                format!(
                    "leg {} cpu {}: {} of {} in {} ns{irq}",
                    p.leg, p.cpu, p.work, p.budget, p.ns
                )
            })
            .collect();
        list(&mut out, "polls", &polls);
        let drop = j.drop.as_ref().map(|d| {
            let reason = d.reason.map_or("none".to_owned(), |r| r.to_string());
            format!(
                "reason {reason} at {:#x} in {}, stack {}",
                d.location,
                d.stage.as_str(),
                d.stack.len()
            )
        });
        text(&mut out, "drop", drop.as_ref());
        if j.partial {
            let _ = writeln!(out, "partial = true");
        }
        let rewrites: Vec<String> = j.rewrites.iter().map(named).collect();
        list(&mut out, "rewrites", &rewrites);
    }
    out
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Receive => "receive",
        Direction::Transmit => "transmit",
        Direction::Forward => "forward",
        Direction::Loop => "loop",
    }
}

fn outcome(outcome: Outcome) -> String {
    let why = match outcome {
        Outcome::Delivered => return "delivered".to_owned(),
        Outcome::Sent => return "sent".to_owned(),
        Outcome::Forwarded => return "forwarded".to_owned(),
        Outcome::Dropped => return "dropped".to_owned(),
        Outcome::Consumed => return "consumed".to_owned(),
        Outcome::Unfinished(why) => why,
    };
    let why = match why {
        Unfinished::Aged => "aged",
        Unfinished::Evicted => "evicted",
        Unfinished::TraceEnded => "trace_ended",
        Unfinished::AddressReused => "address_reused",
        Unfinished::RecordLost => "record_lost",
    };
    format!("unfinished {why}")
}

pub fn ledger(assembler: &Assembler) -> LedgerSpec {
    let l = assembler.ledger();
    let losses = assembler.losses();
    LedgerSpec {
        seen: l.seen,
        delivered: l.delivered,
        sent: l.sent,
        forwarded: l.forwarded,
        dropped: l.dropped,
        consumed: l.consumed,
        unfinished: l.unfinished,
        lost: l.lost,
        late: losses.late,
        evicted: losses.evicted,
    }
}
