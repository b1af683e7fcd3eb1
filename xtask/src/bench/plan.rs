//! What is measured: the plans for `trace-cli/examples/cost`.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use serde_json::{Value, json};

/// What a user of bpftrace would write: six hooks, by each kind of probe.
pub const SCRIPTS: [&str; 3] = ["six.bt", "six-fentry.bt", "six-kprobe.bt"];

/// Where a script lies here.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/bench")
        .join(name)
}

fn ours(pktjourney: &str, name: &str, words: &str) -> Value {
    let command: Vec<&str> = std::iter::once(pktjourney)
        .chain(words.split_whitespace())
        .collect();
    json!({"name": name, "command": command})
}

fn tcpdump() -> Value {
    json!({
        "name": "tcpdump -w /dev/null",
        "command": "ip netns exec {b} tcpdump -Z root -i b0 -w /dev/null".split(' ').collect::<Vec<_>>(),
        "ready": {"says": "listening on"},
    })
}

const BPFTRACE: &str = "bpftrace";

fn bpftrace(kind: &str, script: &Path) -> Value {
    json!({
        "name": format!("{BPFTRACE}, six {kind}"),
        "command": [BPFTRACE, script.to_string_lossy()],
        "ready": {"says": "READY"},
    })
}

/// Whether a plan has bpftrace among its tools.
pub fn has_bpftrace(plan: &Value) -> bool {
    let tools = plan["tools"].as_array();
    tools.is_some_and(|tools| tools.iter().any(|tool| tool["command"][0] == BPFTRACE))
}

/// Lets these words start bpftrace, in place of its name.
pub fn start_bpftrace_by(plan: &mut Value, words: &[String]) {
    let tools = plan["tools"].as_array_mut();
    for tool in tools.into_iter().flatten() {
        if let Some(command) = tool.get_mut("command").and_then(Value::as_array_mut)
            && command.first().is_some_and(|name| name == BPFTRACE)
        {
            command.splice(..1, words.iter().map(|word| json!(word)));
        }
    }
}

/// A program of the user's own, to compare with: `NAME|READY|COMMAND`.
#[derive(Clone)]
pub struct Peer {
    name: String,
    /// What it says once it is at work.
    ready: String,
    /// The program's file, and its arguments.
    command: Vec<String>,
}

impl FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '|').map(str::trim);
        let (Some(name), Some(ready), Some(command)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(
                "three parts with `|` between: its name, what it says once it is at work, its command",
            );
        };
        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        if name.is_empty() || ready.is_empty() || command.is_empty() {
            return Err("name, what it says once it is at work, and command must not be empty");
        }
        Ok(Self {
            name: name.to_owned(),
            ready: ready.to_owned(),
            command,
        })
    }
}

impl Peer {
    /// The program's file here, and where it lies in a guest.
    pub fn file(&self) -> (PathBuf, String) {
        let file = PathBuf::from(&self.command[0]);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let guest = format!("usr/bin/{name}");
        (file, guest)
    }

    /// The same program, where it lies in a guest.
    pub fn in_guest(&self) -> Self {
        let mut there = self.clone();
        there.command[0] = format!("/{}", self.file().1);
        there
    }
}

/// A plan with these tools, too.
pub fn with(mut plan: Value, peers: impl IntoIterator<Item = Peer>) -> Value {
    if let Some(tools) = plan["tools"].as_array_mut() {
        tools.extend(peers.into_iter().map(|peer| {
            json!({
                "name": peer.name,
                "command": peer.command,
                "ready": {"says": peer.ready},
            })
        }));
    }
    plan
}

fn loads(udp: u64, tcp: u64, bulk: u64) -> Value {
    json!([
        {"name": "udp", "kind": "udp", "count": udp},
        {"name": "tcp", "kind": "tcp", "count": tcp},
        {"name": "bulk", "kind": "bulk", "count": bulk},
    ])
}

/// A plan with the tools whose names contain one of these words, if there are any, and nothing at all to compare them with.
pub fn only(mut plan: Value, words: &[String]) -> Value {
    if let Some(tools) = plan["tools"].as_array_mut().filter(|_| !words.is_empty()) {
        tools.retain(|tool| {
            let name = tool["name"].as_str().unwrap_or_default();
            name == "nothing" || words.iter().any(|word| name.contains(word.as_str()))
        });
    }
    plan
}

/// In a guest: each tool is started once (that takes seconds there) and keeps three rounds.
pub fn instructions(kernel: &str) -> Value {
    let our = |name, words| ours("pktjourney", name, words);
    let nothing = json!({"name": "nothing"});
    let alone = json!({"name": "hooks alone", "floor": "auto", "idles": true});
    let floor = json!({"name": "floor", "floor": "auto"});
    let floor_kprobe = json!({"name": "floor, kprobe", "floor": "kprobe"});
    let latency = our("latency", "latency --json");
    let trace = our("trace", "trace --json");
    // neither UDP nor TCP: what the kernel side can decide
    let filter = our("trace, no match", "trace --json icmp");
    let drops = our("drops", "drops --json");
    let standard = our("latency, standard", "latency --json --stages standard");
    let few = our("latency, few", "latency --json --stages few");
    let floor_few = json!({"name": "floor, few", "floor": "auto", "stages": "few"});
    // one flow is either in the sample or not: what a packet costs that is not
    let sample = our("latency, left out", "latency --json --sample 1/1000000");
    let few_sample = our(
        "latency, few, left out",
        "latency --json --stages few --sample 1/1000000",
    );
    let kprobe = our("latency, kprobe", "latency --json --probes kprobe");
    let in_guest = |kind, script| {
        let script = Path::new("/job").join(script);
        bpftrace(kind, &script)
    };
    let tools = if kernel == "5.10" {
        json!([
            nothing,
            floor_kprobe,
            kprobe,
            filter,
            drops,
            few,
            sample,
            tcpdump()
        ])
    } else {
        json!([
            nothing,
            alone,
            floor,
            latency,
            standard,
            floor_few,
            few,
            sample,
            few_sample,
            trace,
            filter,
            drops,
            floor_kprobe,
            kprobe,
            tcpdump(),
            in_guest("raw tracepoints", "six.bt"),
            in_guest("fentry", "six-fentry.bt"),
            in_guest("kprobes", "six-kprobe.bt")
        ])
    };
    json!({
        "rounds": 3, "interleaved": false, "hooks": false, "ring": null,
        "tools": tools, "loads": loads(1000, 300, 40),
    })
}

/// In a guest, with the kernel's run statistics on: a run's ns are its instructions.
pub fn hook_instructions(kernel: &str) -> Value {
    let probes = if kernel == "5.10" { "kprobe" } else { "auto" };
    json!({
        "rounds": 1, "interleaved": false, "hooks": true, "ring": null,
        "tools": [
            {"name": "floor", "floor": probes},
            ours("pktjourney", "latency", &format!("latency --json --probes {probes}")),
        ],
        "loads": loads(1000, 300, 40),
    })
}

/// Here, with the kernel's run statistics on.
pub fn hooks(pktjourney: &Path) -> Value {
    let path = pktjourney.to_string_lossy();
    json!({
        "rounds": 3, "interleaved": false, "hooks": true, "ring": null,
        "tools": [
            {"name": "floor", "floor": "auto"},
            ours(&path, "latency", "latency --json"),
            ours(&path, "latency, few", "latency --json --stages few"),
            ours(&path, "latency, left out", "latency --json --sample 1/1000000"),
            ours(&path, "trace, no match", "trace --json icmp"),
        ],
        "loads": loads(10_000, 5_000, 500),
    })
}

/// Here: all tools by turns, seven times.
pub fn rates(pktjourney: &Path) -> Value {
    let path = pktjourney.to_string_lossy();
    json!({
        "rounds": 7, "interleaved": true, "hooks": false,
        "ring": ours(&path, "trace", "trace --json"),
        "tools": [
            {"name": "nothing"},
            {"name": "hooks alone", "floor": "auto", "idles": true},
            {"name": "floor", "floor": "auto"},
            ours(&path, "latency", "latency --json"),
            {"name": "hooks alone, few", "floor": "auto", "idles": true, "stages": "few"},
            {"name": "floor, few", "floor": "auto", "stages": "few"},
            ours(&path, "latency, few", "latency --json --stages few"),
            ours(&path, "latency, left out", "latency --json --sample 1/1000000"),
            ours(&path, "latency, few, left out", "latency --json --stages few --sample 1/1000000"),
            ours(&path, "trace", "trace --json"),
            ours(&path, "trace, no match", "trace --json icmp"),
            ours(&path, "drops", "drops --json"),
            tcpdump(),
            bpftrace("raw tracepoints", &script("six.bt")),
        ],
        "loads": loads(100_000, 50_000, 20_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_runs_where_it_lies() {
        let peer: Peer = "retis | loaded | /opt/retis collect -p skb:kfree_skb"
            .parse()
            .expect("three parts");
        let plan = with(instructions("6.12"), [peer.in_guest()]);
        let tools = plan["tools"].as_array().expect("tools");
        assert_eq!(
            tools.last(),
            Some(&json!({
                "name": "retis",
                "command": ["/usr/bin/retis", "collect", "-p", "skb:kfree_skb"],
                "ready": {"says": "loaded"},
            }))
        );
        assert_eq!(
            peer.file(),
            ("/opt/retis".into(), "usr/bin/retis".to_owned())
        );
        for bad in [
            "retis",
            "retis|loaded",
            "retis||/opt/retis",
            "retis|loaded| ",
        ] {
            assert!(bad.parse::<Peer>().is_err(), "{bad}");
        }
    }
}
