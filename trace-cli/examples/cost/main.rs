//! What tracing costs: bounded traffic of its own under one tool after the other. `cargo xtask bench` gives it a plan (JSON, see
//! [`Plan`]) on standard input, here or in a guest, and makes tables of what it prints: one JSON object a line.
//!
//! Needs root. No packet leaves the namespaces made here.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

mod programs;
mod ring;
mod tool;
mod traffic;

use std::io;

use anyhow::{Context as _, Result};
use pktjourney::lab::{Addresses, Pair};
use serde::Deserialize;
use serde_json::json;

use programs::Statistics;
use tool::{Tool, Under};
use traffic::{Line, Load};

/// What to do.
#[derive(Deserialize)]
struct Plan {
    /// How often each load is measured under each tool.
    rounds: usize,
    /// True: a round is all tools, one after the other, so that what the machine does beside hits all alike. False: each tool is
    /// started once and keeps its rounds.
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
    let outer = if plan.interleaved { plan.rounds } else { 1 };
    let inner = if plan.interleaved { 1 } else { plan.rounds };
    for round in 0..outer {
        for tool in &plan.tools {
            let under = match Under::start(tool, &pair) {
                Ok(under) => under,
                // one tool that this kernel does not run is said, and the others go on
                Err(error) => {
                    println!(
                        "{}",
                        json!({"tool": tool.name, "failed": format!("{error:#}")})
                    );
                    continue;
                }
            };
            for load in &plan.loads {
                let line = Line::open(&pair, load)?;
                line.run(load.count / 8 + 1)?; // caches, connections, names that are told once
                for inner_round in 0..inner {
                    let before = statistics.as_ref().map(Statistics::read).transpose()?;
                    let took = line.run(load.count)?;
                    let hooks = match (&statistics, before) {
                        (Some(statistics), Some(before)) => Some(statistics.since(&before)?),
                        _ => None,
                    };
                    println!(
                        "{}",
                        json!({
                            "tool": tool.name, "load": load.name, "round": round + inner_round,
                            "packets": took.packets, "sent_cpu_ns": took.sent_cpu_ns, "cpu_ns": took.cpu_ns,
                            "wall_ns": took.wall_ns, "hooks": hooks,
                        })
                    );
                }
            }
            let (start_ms, said) = (under.start_ms, tool.name.clone());
            let stop_ms = under.stop()?;
            println!(
                "{}",
                json!({"tool": said, "start_ms": start_ms, "stop_ms": stop_ms})
            );
        }
    }
    if let Some(tool) = &plan.ring {
        for load in &plan.loads {
            println!("{}", ring::measure(tool, &pair, load)?);
        }
    }
    Ok(())
}
