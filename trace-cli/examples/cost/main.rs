//! What tracing costs: bounded traffic of its own under one tool after the other. `cargo xtask bench` gives it a plan (JSON, see
//! [`Plan`]) on standard input, here or in a guest, and makes tables of what it prints: one JSON object a line.
//!
//! Needs root. No packet leaves the namespaces made here.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

mod programs;
mod ring;
mod tool;
mod traffic;

use std::{collections::BTreeMap, io};

use anyhow::{Context as _, Result};
use pktjourney::lab::{Addresses, Pair};
use serde::Deserialize;
use serde_json::json;

use programs::{Runs, Statistics};
use tool::{Tool, Under};
use traffic::{Line, Load, Took};

/// What to do.
#[derive(Deserialize)]
struct Plan {
    /// How often each load is measured under each tool.
    rounds: usize,
    /// True: a round is all tools, one after the other, each just after nothing at all, and each round begins with another one; so
    /// what the machine does beside hits all alike. False: each tool is started once and keeps its rounds.
    interleaved: bool,
    /// Let the kernel count runs and time of every eBPF program. That costs time itself: not together with a comparison of rates.
    hooks: bool,
    /// Record the loads once and count what the rings brought.
    ring: Option<Tool>,
    tools: Vec<Tool>,
    loads: Vec<Load>,
}

fn main() -> Result<()> {
    let plan: Plan = serde_json::from_reader(io::stdin()).context("the plan")?;
    let pair = Pair::new(Addresses::unique())?;
    let statistics = plan.hooks.then(Statistics::enable).transpose()?;
    if plan.interleaved {
        by_turns(&plan, &pair)?;
    } else {
        one_by_one(&plan, &pair, statistics.as_ref())?;
    }
    if let Some(tool) = &plan.ring {
        for load in &plan.loads {
            println!("{}", ring::measure(tool, &pair, load)?);
        }
    }
    Ok(())
}

/// All tools in each round, each just after nothing at all; each round begins with another one.
fn by_turns(plan: &Plan, pair: &Pair) -> Result<()> {
    for round in 0..plan.rounds {
        let first = round % plan.tools.len().max(1);
        let (later, sooner) = plan.tools.split_at(first);
        for tool in sooner.iter().chain(later) {
            let beside = plan.loads.iter();
            let beside: Vec<Took> = beside
                .map(|load| warm(pair, load)?.run(load.count))
                .collect::<Result<_>>()?;
            let mut beside = beside.iter();
            under(tool, pair, &plan.loads, |line, load| {
                let took = line.run(load.count)?;
                say(tool, load, round, &took, beside.next(), None);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Each tool is started once and keeps its rounds.
fn one_by_one(plan: &Plan, pair: &Pair, statistics: Option<&Statistics>) -> Result<()> {
    for tool in &plan.tools {
        under(tool, pair, &plan.loads, |line, load| {
            for round in 0..plan.rounds {
                let before = statistics.map(Statistics::read).transpose()?;
                let took = line.run(load.count)?;
                let hooks = match (statistics, before) {
                    (Some(statistics), Some(before)) => Some(statistics.since(&before)?),
                    _ => None,
                };
                say(tool, load, round, &took, None, hooks);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Starts the tool, does this with a line for each load, and stops it.
fn under(
    tool: &Tool,
    pair: &Pair,
    loads: &[Load],
    mut measure: impl FnMut(&Line<'_>, &Load) -> Result<()>,
) -> Result<()> {
    let under = match Under::start(tool, pair) {
        Ok(under) => under,
        // one tool that this kernel does not run is said, and the others go on
        Err(error) => {
            println!(
                "{}",
                json!({"tool": tool.name, "failed": format!("{error:#}")})
            );
            return Ok(());
        }
    };
    for load in loads {
        measure(&warm(pair, load)?, load)?;
    }
    let start_ms = under.start_ms;
    let stop_ms = under.stop()?;
    println!(
        "{}",
        json!({"tool": tool.name, "start_ms": start_ms, "stop_ms": stop_ms})
    );
    Ok(())
}

/// Open sockets that were used: caches, connections, names that are told once.
fn warm<'a>(pair: &'a Pair, load: &Load) -> Result<Line<'a>> {
    let line = Line::open(pair, load)?;
    line.run(load.count / 8 + 1)?;
    Ok(line)
}

/// One round's result, a JSON object. `beside`: the same without any tool, just before.
fn say(
    tool: &Tool,
    load: &Load,
    round: usize,
    took: &Took,
    beside: Option<&Took>,
    hooks: Option<BTreeMap<String, Runs>>,
) {
    println!(
        "{}",
        json!({
            "tool": tool.name, "load": load.name, "round": round,
            "packets": took.packets, "sent_cpu_ns": took.sent_cpu_ns, "cpu_ns": took.cpu_ns,
            "wall_ns": took.wall_ns, "hooks": hooks,
            "beside": beside.map(|beside| json!({
                "packets": beside.packets, "cpu_ns": beside.cpu_ns, "wall_ns": beside.wall_ns,
            })),
        })
    );
}
