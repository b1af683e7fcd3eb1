//! What the example says, as tables.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// Everything that was measured in one run.
#[derive(Default)]
pub struct Results {
    tools: Vec<String>,
    loads: Vec<String>,
    /// By load and tool, in the rounds' order.
    rounds: BTreeMap<(String, String), Vec<Round>>,
    /// Start and stop, ms.
    starts: BTreeMap<String, Vec<(f64, f64)>>,
    rings: Vec<Value>,
    /// Tools that did not start, and why.
    pub failed: BTreeMap<String, String>,
}

struct Round {
    packets: f64,
    sent_cpu_ns: f64,
    cpu_ns: f64,
    wall_ns: f64,
    hooks: Option<Map<String, Value>>,
    /// The same without any tool, just before.
    beside: Option<Beside>,
}

struct Beside {
    packets: f64,
    cpu_ns: f64,
    wall_ns: f64,
}

/// A program's name, its runs and its ns a packet.
type Program<'a> = (&'a str, f64, f64);

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(f64::NAN)
}

impl Results {
    pub fn read(said: &str) -> Result<Self> {
        let mut results = Self::default();
        for line in said.lines().filter(|line| line.starts_with('{')) {
            let value: Value = serde_json::from_str(line).context("a result")?;
            let tool = value["tool"].as_str().unwrap_or_default().to_owned();
            if let Some(why) = value["failed"].as_str() {
                results.failed.insert(tool, why.to_owned());
            } else if value["start_ms"].is_number() {
                let pair = (number(&value, "start_ms"), number(&value, "stop_ms"));
                results.starts.entry(tool).or_default().push(pair);
            } else if value["kinds"].is_object() {
                results.rings.push(value);
            } else {
                let load = value["load"].as_str().unwrap_or_default().to_owned();
                for (all, name) in [(&mut results.tools, &tool), (&mut results.loads, &load)] {
                    if !all.contains(name) {
                        all.push(name.clone());
                    }
                }
                let round = Round {
                    packets: number(&value, "packets"),
                    sent_cpu_ns: number(&value, "sent_cpu_ns"),
                    cpu_ns: number(&value, "cpu_ns"),
                    wall_ns: number(&value, "wall_ns"),
                    hooks: value["hooks"].as_object().cloned(),
                    beside: value["beside"].is_object().then(|| Beside {
                        packets: number(&value["beside"], "packets"),
                        cpu_ns: number(&value["beside"], "cpu_ns"),
                        wall_ns: number(&value["beside"], "wall_ns"),
                    }),
                };
                results.rounds.entry((load, tool)).or_default().push(round);
            }
        }
        Ok(results)
    }

    fn of(&self, load: &str, tool: &str) -> &[Round] {
        let key = (load.to_owned(), tool.to_owned());
        self.rounds.get(&key).map_or(&[], Vec::as_slice)
    }

    fn middle(&self, load: &str, tool: &str, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.of(load, tool).iter().map(of).collect())
    }

    /// One row a tool, one column a load; the first row is nothing attached.
    fn table(&self, heads: &[&str], cell: impl Fn(&str, &str) -> String) -> String {
        let mut table = String::from("| |");
        for load in &self.loads {
            for head in heads {
                let _ = write!(table, " {load}{head} |");
            }
        }
        table += "\n|---|";
        table += &"---|".repeat(self.loads.len() * heads.len());
        for tool in &self.tools {
            let _ = write!(table, "\n| {tool} |");
            for load in &self.loads {
                table += &cell(load, tool);
            }
        }
        table + "\n"
    }

    /// Instructions of sending, receiving and reading one packet; the sending calls alone.
    pub fn instructions(&self) -> String {
        self.table(&["", ", sending calls"], |load, tool| {
            let mut cells = String::new();
            for of in [
                |r: &Round| r.cpu_ns / r.packets,
                |r: &Round| r.sent_cpu_ns / r.packets,
            ] {
                let (ours, nothing) = (
                    self.middle(load, tool, of),
                    self.middle(load, "nothing", of),
                );
                let _ = write!(cells, " {ours:.0} · {:.2} |", ours / nothing);
            }
            cells
        })
    }

    /// Instructions by tool and load, to be compared with another run's.
    pub fn rows(&self) -> Value {
        let mut rows = Map::new();
        for tool in &self.tools {
            let mut row = Map::new();
            for load in &self.loads {
                let count = self.middle(load, tool, |r| r.cpu_ns / r.packets);
                row.insert(load.clone(), json!(count.round()));
            }
            rows.insert(tool.clone(), Value::Object(row));
        }
        Value::Object(rows)
    }

    /// Packets a second and CPU time a packet, each as the median of the rounds' ratios to nothing attached, measured just
    /// before. Of nothing attached, the ratio to itself says how far all this can be believed.
    pub fn rates(&self) -> String {
        self.table(&[", packets/s", ", CPU time"], |load, tool| {
            let paired = |of: fn(&Round, &Beside) -> f64| {
                let rounds = self.of(load, tool).iter();
                median(
                    rounds
                        .filter_map(|r| Some(of(r, r.beside.as_ref()?)))
                        .collect(),
                )
            };
            let rate = paired(|r, b| (r.packets / r.wall_ns) / (b.packets / b.wall_ns));
            let cost = paired(|r, b| (r.cpu_ns / r.packets) / (b.cpu_ns / b.packets));
            if tool == "nothing" {
                let rates = self.middle(load, tool, |r| r.packets / r.wall_ns) * 1e9;
                let costs = self.middle(load, tool, |r| r.cpu_ns / r.packets);
                format!(" {rates:.0} · × {rate:.2} | {costs:.0} ns · × {cost:.2} |")
            } else {
                format!(" × {rate:.2} | × {cost:.2} |")
            }
        })
    }

    /// Start and stop of each tool, median and slowest.
    pub fn starts(&self) -> String {
        let mut table =
            String::from("| | start | slowest | stop | slowest |\n|---|---|---|---|---|\n");
        for (tool, times) in self.starts.iter().filter(|(tool, _)| *tool != "nothing") {
            let of = |of: fn(&(f64, f64)) -> f64| {
                let all: Vec<f64> = times.iter().map(of).collect();
                (median(all.clone()), all.iter().copied().fold(0.0, f64::max))
            };
            let ((start, slow), (stop, slowest)) = (of(|t| t.0), of(|t| t.1));
            let _ = writeln!(
                table,
                "| {tool} | {start:.0} ms | {slow:.0} ms | {stop:.0} ms | {slowest:.0} ms |"
            );
        }
        table
    }

    /// Records and bytes a packet, by kind.
    pub fn rings(&self) -> String {
        let mut table = String::from("| | records | bytes | of which |\n|---|---|---|---|\n");
        for ring in &self.rings {
            let kinds = ring["kinds"].as_object().into_iter().flatten();
            let kinds: Vec<String> = kinds
                .filter(|(_, kind)| number(kind, "records") > 0.005)
                .map(|(name, kind)| {
                    format!(
                        "{name} {:.2} ({:.0} bytes)",
                        number(kind, "records"),
                        number(kind, "bytes")
                    )
                })
                .collect();
            let _ = writeln!(
                table,
                "| {} | {:.2} | {:.0} | {} |",
                ring["load"].as_str().unwrap_or_default(),
                number(ring, "records_per_packet"),
                number(ring, "bytes_per_packet"),
                kinds.join(", ")
            );
        }
        table
    }

    /// By load and tool: the programs of the last round, each with its runs and its ns a packet.
    fn programs(&self) -> Vec<(&str, &str, Vec<Program<'_>>)> {
        let mut all = Vec::new();
        for load in &self.loads {
            for tool in &self.tools {
                let Some(round) = self.of(load, tool).last() else {
                    continue;
                };
                let programs = round.hooks.iter().flatten().map(|(name, hook)| {
                    let a_packet = |key| number(hook, key) / round.packets;
                    (name.as_str(), a_packet("runs"), a_packet("ns"))
                });
                all.push((load.as_str(), tool.as_str(), programs.collect()));
            }
        }
        all
    }

    /// Of each program: runs a packet, ns (in a guest: instructions) a run and a packet; the costliest first.
    pub fn each_hook(&self) -> String {
        let mut table = String::from(
            "| | load | program | runs a packet | a run | a packet |\n|---|---|---|---|---|---|\n",
        );
        for (load, tool, mut programs) in self.programs() {
            programs.retain(|&(_, runs, _)| runs > 0.05);
            programs.sort_by(|a, b| f64::total_cmp(&b.2, &a.2));
            for (name, runs, ns) in programs {
                let _ = writeln!(
                    table,
                    "| {tool} | {load} | `{name}` | {runs:.2} | {:.0} | {ns:.0} |",
                    ns / runs
                );
            }
        }
        table
    }

    /// Of each tool: all its programs' runs a packet, ns a run and a packet.
    pub fn hooks(&self) -> String {
        let mut table = String::from(
            "| | load | runs a packet | ns a run | ns a packet |\n|---|---|---|---|---|\n",
        );
        for (load, tool, programs) in self.programs() {
            let (mut runs, mut ns) = (0.0, 0.0);
            for (_, more, longer) in programs.iter().filter(|p| !p.0.starts_with("sweep")) {
                runs += more;
                ns += longer;
            }
            let _ = writeln!(
                table,
                "| {tool} | {load} | {runs:.1} | {:.0} | {ns:.0} |",
                ns / runs
            );
        }
        table
    }
}

/// A row for each JSON object, with what it says under these names.
pub fn columns(said: &str, columns: &[(&str, &str)]) -> Result<String> {
    let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
    let mut table = format!(
        "| {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    for line in said.lines() {
        let row: Value = serde_json::from_str(line).context("a result")?;
        let cells: Vec<String> = columns.iter().map(|(key, _)| cell(&row[*key])).collect();
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    Ok(table)
}

/// Of several values, the range.
fn cell(value: &Value) -> String {
    match value {
        Value::Array(all) => {
            let mut all: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
            all.sort_by(f64::total_cmp);
            match (all.first(), all.last()) {
                (Some(least), Some(most)) => format!("{least} to {most}"),
                _ => String::new(),
            }
        }
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.1}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    }
}

/// Rows that cost more than accepted.
pub fn worse(name: &str, accepted: &Value, now: &Value, tolerance: f64) -> Vec<String> {
    let mut worse = Vec::new();
    for (tool, row) in now.as_object().into_iter().flatten() {
        for (load, count) in row.as_object().into_iter().flatten() {
            let (Some(count), Some(before)) = (count.as_f64(), accepted[tool][load].as_f64())
            else {
                continue;
            };
            // bulk depends on how much goes into one sk_buff: too unsteady for a gate
            if load != "bulk" && count > before * tolerance {
                worse.push(format!(
                    "{name}: {tool}, {load}: {count:.0} instructions a packet, accepted {before:.0}"
                ));
            }
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Results, worse};

    fn line(tool: &str, cpu: u64) -> String {
        let round = json!({"tool": tool, "load": "udp", "packets": 10, "sent_cpu_ns": cpu, "cpu_ns": cpu, "wall_ns": cpu});
        format!("{round}\n")
    }

    #[test]
    fn rows_are_medians() {
        let said: String =
            [90, 100, 500].map(|cpu| line("nothing", cpu)).concat() + &line("ours", 150);
        let results = Results::read(&said).expect("results");
        assert_eq!(
            results.rows(),
            json!({"nothing": {"udp": 10.0}, "ours": {"udp": 15.0}})
        );
        assert!(
            results
                .instructions()
                .contains("| ours | 15 · 1.50 | 15 · 1.50 |")
        );
    }

    #[test]
    fn rates_are_beside_nothing() {
        let said: String = [("nothing", 100, 110), ("ours", 200, 100), ("ours", 90, 60)]
            .map(|(tool, ns, beside)| {
                let round = json!({
                    "tool": tool, "load": "udp", "packets": 10, "sent_cpu_ns": ns, "cpu_ns": ns, "wall_ns": ns,
                    "beside": {"packets": 10, "cpu_ns": beside, "wall_ns": beside},
                });
                format!("{round}\n")
            })
            .concat();
        let rates = Results::read(&said).expect("results").rates();
        assert!(
            rates.ends_with(
                "| nothing | 100000000 · × 1.10 | 10 ns · × 0.91 |\n| ours | × 0.67 | × 2.00 |\n"
            ),
            "{rates}"
        );
    }

    #[test]
    fn programs_are_told_one_by_one_and_together() {
        let runs = |runs, ns| json!({"runs": runs, "ns": ns});
        let round = json!({
            "tool": "ours", "load": "udp", "packets": 10, "sent_cpu_ns": 1, "cpu_ns": 1, "wall_ns": 1,
            "hooks": {"cheap": runs(10, 500), "dear": runs(20, 4000), "sweep": runs(10, 100), "rare": runs(0, 0)},
        });
        let results = Results::read(&format!("{round}\n")).expect("results");
        let rows: Vec<String> = results
            .each_hook()
            .lines()
            .skip(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(
            rows,
            [
                "| ours | udp | `dear` | 2.00 | 200 | 400 |",
                "| ours | udp | `cheap` | 1.00 | 50 | 50 |",
                "| ours | udp | `sweep` | 1.00 | 10 | 10 |",
            ]
        );
        assert!(
            results
                .hooks()
                .ends_with("| ours | udp | 3.0 | 150 | 450 |\n")
        );
    }

    #[test]
    fn only_growth_is_worse() {
        let accepted = json!({"ours": {"udp": 100.0, "tcp": 100.0}});
        let now = json!({"ours": {"udp": 102.0, "tcp": 104.0}, "new": {"udp": 9.0}});
        assert_eq!(worse("x", &accepted, &now, 1.03).len(), 1);
    }
}
