//! What the tool printed, read back, and what must hold of every trace whatever was traced.

use std::{collections::BTreeMap, net::IpAddr};

use pktjourney::lab::Netns;
use serde::Deserialize;
use serde_json::Value;

use crate::kernels::lacks;

/// All lines of one run.
#[derive(Debug)]
pub struct Trace {
    /// The first line.
    pub session: Value,
    /// Every journey.
    pub journeys: Vec<Journey>,
    /// What the kernel counted by itself.
    pub meanwhile: Option<Value>,
    /// Every warning.
    pub warnings: Vec<Value>,
    /// The last line.
    pub end: End,
}

/// A `journey` line.
#[derive(Clone, Deserialize, Debug)]
pub struct Journey {
    pub id: u64,
    pub direction: String,
    pub outcome: String,
    pub flow: Option<Flow>,
    pub start_ns: u64,
    pub total_ns: u64,
    pub legs: Vec<Leg>,
    pub stages: Vec<Stage>,
    pub drop: Option<Drop>,
    #[serde(default)]
    pub polls: Vec<Value>,
    #[serde(default)]
    pub links: Vec<Link>,
}

/// Another journey that it has to do with.
#[derive(Clone, Deserialize, Debug)]
pub struct Link {
    pub kind: String,
}

/// Its packet.
#[derive(Clone, Deserialize, Debug)]
pub struct Flow {
    #[serde(rename = "network.transport")]
    pub transport: String,
    #[serde(rename = "source.port")]
    pub source_port: Option<u16>,
    #[serde(rename = "destination.address")]
    pub destination: IpAddr,
    #[serde(rename = "destination.port")]
    pub destination_port: Option<u16>,
    #[serde(rename = "tcp.seq")]
    pub seq: Option<u32>,
    #[serde(rename = "tcp.payload")]
    pub payload: Option<u64>,
    #[serde(rename = "icmp.type")]
    pub icmp_type: Option<u8>,
}

/// A part of it in one namespace.
#[derive(Clone, Deserialize, Debug)]
pub struct Leg {
    pub netns: Option<u32>,
    pub direction: String,
    pub outcome: String,
}

/// A span.
#[derive(Clone, Deserialize, Debug)]
pub struct Stage {
    pub stage: String,
    pub leg: usize,
    pub start_ns: u64,
    pub ns: u64,
    pub state: String,
}

/// What dropped it.
#[derive(Clone, Deserialize, Debug)]
pub struct Drop {
    pub reason: String,
    #[serde(default)]
    pub reason_inferred: bool,
    pub function: Option<String>,
    pub stage: String,
}

/// The last line.
#[derive(Clone, Deserialize, Debug)]
pub struct End {
    pub matched: u64,
    pub ledger: BTreeMap<String, u64>,
    #[serde(default)]
    pub losses: BTreeMap<String, u64>,
    pub sample: Option<Value>,
    pub budget: Option<Value>,
    pub duration_ns: u64,
}

impl Journey {
    /// What a nervous sender repeated, where drops have no reasons: TCP frees it where no hook is (docs/kernels.md).
    pub fn repeated_unseen(&self) -> bool {
        let again = |link: &Link| link.kind == "retransmit_of";
        self.outcome == "unfinished" && lacks("drop_reason") && self.links.iter().any(again)
    }

    /// Whether it has a stage of this name, in whatever leg.
    pub fn has(&self, stage: &str) -> bool {
        self.stages.iter().any(|s| s.stage == stage)
    }

    /// Whether a leg has a stage of this name.
    pub fn leg_has(&self, leg: usize, stage: &str) -> bool {
        self.stages.iter().any(|s| s.leg == leg && s.stage == stage)
    }

    /// Time spent in a stage, over all legs.
    pub fn ns(&self, stage: &str) -> u64 {
        let of_stage = self.stages.iter().filter(|s| s.stage == stage);
        of_stage.map(|s| s.ns).sum()
    }

    /// Its packet's ports.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let flow = self.flow.as_ref()?;
        flow.source_port.zip(flow.destination_port)
    }

    /// Bytes of TCP payload.
    pub fn payload(&self) -> Option<u64> {
        self.flow.as_ref()?.payload
    }

    /// Whether it is an ICMP or ICMPv6 packet other than those of neighbour discovery and errors.
    pub fn is_echo(&self) -> bool {
        let kind = self.flow.as_ref().and_then(|flow| flow.icmp_type);
        matches!(kind, Some(0 | 8 | 128 | 129))
    }

    /// Whether its packet goes to this address.
    pub fn goes_to(&self, address: IpAddr) -> bool {
        self.flow
            .as_ref()
            .is_some_and(|flow| flow.destination == address)
    }

    /// Whether a leg is in this namespace.
    pub fn in_netns(&self, leg: usize, netns: &Netns) -> bool {
        self.legs
            .get(leg)
            .is_some_and(|leg| leg.netns == Some(netns.inode()))
    }

    /// Whether its packet goes to this address and port.
    pub fn is_to(&self, address: IpAddr, port: u16) -> bool {
        self.flow
            .as_ref()
            .is_some_and(|flow| flow.destination == address && flow.destination_port == Some(port))
    }
}

impl Trace {
    /// Reads the lines of a run that ended well.
    pub fn parse(output: &str) -> Self {
        let mut lines = output.lines().map(|line| -> Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        let session = lines.next().expect("a session line");
        assert_eq!(session["type"], "session", "{session}");
        let mut rest: Vec<Value> = lines.collect();
        let end = rest.pop().expect("an end line");
        assert_eq!(end["type"], "end", "{end}");
        let meanwhile = rest
            .iter()
            .find(|line| line["type"] == "meanwhile")
            .cloned();
        let warnings = rest
            .iter()
            .filter(|line| line["type"] == "warning")
            .cloned()
            .collect();
        let journeys = rest
            .into_iter()
            .filter(|line| line["type"] == "journey")
            .map(|line| {
                let text = line.to_string();
                serde_json::from_value(line).unwrap_or_else(|error| panic!("{error}: {text}"))
            })
            .collect();
        let end_text = end.to_string();
        let end = serde_json::from_value(end).unwrap_or_else(|error| panic!("{error}: {end_text}"));
        Self {
            session,
            journeys,
            meanwhile,
            warnings,
            end,
        }
    }

    /// Asserts all that must hold of every trace.
    pub fn check(&self) {
        self.check_ledger();
        for journey in &self.journeys {
            check_stages(journey);
        }
        let mut ids: Vec<u64> = self.journeys.iter().map(|journey| journey.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), self.journeys.len(), "two journeys have one id");
    }

    /// The balance, and that it counts what was printed.
    fn check_ledger(&self) {
        let ledger = &self.end.ledger;
        let entry = |name: &str| {
            *ledger
                .get(name)
                .unwrap_or_else(|| panic!("no {name}: {ledger:?}"))
        };
        let sum: u64 = OUTCOMES.iter().map(|outcome| entry(outcome)).sum();
        assert_eq!(entry("seen"), sum + entry("lost"), "{ledger:?}");
        assert_eq!(self.journeys.len() as u64, self.end.matched, "{ledger:?}");
        let filtered = self.session.get("filter").is_some();
        for outcome in OUTCOMES {
            let printed = self
                .journeys
                .iter()
                .filter(|j| j.outcome == outcome)
                .count() as u64;
            let counted = entry(outcome);
            // A filter chooses what is printed; the ledger counts all that was followed.
            assert!(
                printed == counted || filtered && printed < counted,
                "{printed} {outcome} printed: {ledger:?}"
            );
        }
    }

    /// An entry of the ledger.
    pub fn ledger(&self, name: &str) -> u64 {
        self.end.ledger[name]
    }

    /// Runs of our programs that the kernel left out, for they would have interrupted themselves. Each can leave one packet
    /// without its end, or two taken for one.
    pub fn missed(&self) -> u64 {
        self.end.losses["missed"]
    }

    /// The journeys of packets to this address and port.
    pub fn to(&self, address: IpAddr, port: u16) -> Vec<&Journey> {
        self.journeys
            .iter()
            .filter(|journey| journey.is_to(address, port))
            .collect()
    }

    /// Of some stages, those that this kernel shows.
    pub fn visible<'a>(&self, stages: &[&'a str]) -> Vec<&'a str> {
        let hidden = self.not_probed();
        stages
            .iter()
            .copied()
            .filter(|stage| !hidden.iter().any(|h| h == stage))
            .collect()
    }

    /// Whether a probe is in place at this tracepoint or function.
    pub fn is_probed(&self, target: &str) -> bool {
        let plan = self.session["attach_plan"].as_array().expect("attach_plan");
        plan.iter()
            .any(|row| row["target"] == target && row["state"] == "attached")
    }

    /// The stages that this kernel does not show.
    pub fn not_probed(&self) -> Vec<String> {
        let list = self.session["not_probed"].as_array().expect("not_probed");
        let name = |entry: &Value| {
            entry
                .as_str()
                .or(entry["stage"].as_str())
                .map(str::to_owned)
        };
        list.iter()
            .map(|entry| name(entry).expect("a stage"))
            .collect()
    }

    /// How many journeys there are of each kind: for messages.
    pub fn summary(&self) -> String {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for journey in &self.journeys {
            let protocol = journey.flow.as_ref().map_or("-", |flow| &flow.transport);
            let reason = journey.drop.as_ref().map_or("", |drop| &drop.reason);
            let stages: Vec<&str> = journey.stages.iter().map(|s| s.stage.as_str()).collect();
            let kind = format!(
                "{protocol} {} {} {reason} legs={} {}",
                journey.direction,
                journey.outcome,
                journey.legs.len(),
                stages.join(",")
            );
            *kinds.entry(kind).or_default() += 1;
        }
        let lines: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count:6} {kind}"))
            .collect();
        format!(
            "{:?}\n{:?}\n{}",
            self.end.ledger,
            self.end.losses,
            lines.join("\n")
        )
    }
}

/// What a journey can end with.
pub const OUTCOMES: [&str; 6] = [
    "delivered",
    "sent",
    "forwarded",
    "dropped",
    "consumed",
    "unfinished",
];

/// The breakdown checks itself: the stages follow one another without a hole and add up to the total.
fn check_stages(journey: &Journey) {
    let mut at = journey.start_ns;
    let mut leg = 0;
    for stage in &journey.stages {
        assert_eq!(stage.start_ns, at, "a hole or an overlap: {journey:?}");
        assert!(
            stage.leg >= leg && stage.leg < journey.legs.len(),
            "legs out of order: {journey:?}"
        );
        assert!(
            matches!(stage.state.as_str(), "measured" | "gap"),
            "{journey:?}"
        );
        at += stage.ns;
        leg = stage.leg;
    }
    assert_eq!(
        at - journey.start_ns,
        journey.total_ns,
        "stages do not sum to the total: {journey:?}"
    );
    assert_eq!(
        journey.outcome,
        journey.legs.last().expect("a leg").outcome,
        "the last leg's outcome is the journey's: {journey:?}"
    );
    assert_eq!(
        journey.outcome == "dropped",
        journey.drop.is_some(),
        "{journey:?}"
    );
}
