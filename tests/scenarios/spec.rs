//! What a scenario file may say.

use std::collections::BTreeMap;

use pktjourney::journey::{ledger::KernelCounters, probed::Probed};
use serde::Deserialize;
use trace_ebpf::Counter;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One sentence.
    pub about: String,
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Hooks that this kernel does not have.
    #[serde(default)]
    pub not_probed: Vec<String>,
    /// The kernel's number for the drop reason QUEUE_PURGE.
    pub queue_purge: Option<u32>,
    /// The order in which the records come is the point.
    #[serde(default)]
    pub arrival_matters: bool,
    /// When the trace ends.
    pub end: Option<u64>,
    /// Headers, by name.
    #[serde(default)]
    pub packets: BTreeMap<String, Packet>,
    pub step: Vec<Step>,
    #[serde(default)]
    pub journey: Vec<Expected>,
    pub ledger: Option<LedgerSpec>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    pub open_journeys: Option<usize>,
    pub age_ns: Option<u64>,
    pub hold_ns: Option<u64>,
    pub linger_ns: Option<u64>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// `udp`, `tcp` or `icmp`.
    pub kind: String,
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub seq: u32,
    #[serde(default)]
    pub ack: u32,
    /// `S`, `A`, `P`, `F`, `R`.
    #[serde(default)]
    pub flags: String,
    #[serde(default)]
    pub payload: u32,
    /// IPv4 identification.
    #[serde(default)]
    pub id: u16,
    #[serde(default = "sixty_four")]
    pub ttl: u8,
    /// ICMP type.
    #[serde(default)]
    pub icmp: u8,
    /// Fragment offset in bytes.
    #[serde(default)]
    pub offset: u16,
    #[serde(default)]
    pub more_fragments: bool,
}

fn sixty_four() -> u8 {
    64
}

/// One record, or one thing that happens between records.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub segment: Option<SegmentSpec>,
    /// `"receive@1200"`, `"enter prerouting@1300"`, `"device 3"`, `"netns 2"`, `"pid 77"`, `"poll 5"`.
    #[serde(default)]
    pub stamps: Vec<String>,
    pub drop: Option<DropSpec>,
    pub socket: Option<SocketSpec>,
    pub poll: Option<PollSpec>,
    pub process: Option<ProcessSpec>,
    pub counters: Option<CountersSpec>,
    /// The caller's clock.
    pub tick: Option<u64>,
}

impl Step {
    pub fn cpu(&self) -> u16 {
        let segment = self.segment.as_ref().map(|s| s.cpu);
        let drop = self.drop.as_ref().map(|d| d.cpu);
        let socket = self.socket.as_ref().map(|s| s.cpu);
        let poll = self.poll.as_ref().map(|p| p.cpu);
        segment.or(drop).or(socket).or(poll).unwrap_or(0)
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct SegmentSpec {
    pub skb: u64,
    #[serde(default)]
    pub cpu: u16,
    #[serde(default)]
    pub netns: u32,
    #[serde(default)]
    pub device: u32,
    /// Name of the headers; none are sent without.
    pub packet: Option<String>,
    #[serde(default)]
    pub sk: u64,
    /// By default as `skb`.
    pub head: Option<u64>,
    #[serde(default)]
    pub cloned: bool,
    #[serde(default)]
    pub nested: bool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct DropSpec {
    pub skb: u64,
    #[serde(default)]
    pub cpu: u16,
    pub time: u64,
    pub reason: Option<u32>,
    #[serde(default)]
    pub location: u64,
    #[serde(default)]
    pub shared: bool,
    #[serde(default)]
    pub stack: Vec<u64>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct SocketSpec {
    /// `send`, `receive`, `receive_end`, `retransmit`, `datagram`, `datagram_at`, `datagram_before`.
    pub op: String,
    #[serde(default)]
    pub cpu: u16,
    pub sk: u64,
    #[serde(default)]
    pub seq: u32,
    #[serde(default)]
    pub len: u32,
    #[serde(default)]
    pub start: u64,
    #[serde(default)]
    pub end: u64,
    #[serde(default)]
    pub pid: u32,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct PollSpec {
    #[serde(default)]
    pub cpu: u16,
    pub number: u32,
    pub start: u64,
    pub end: u64,
    pub work: u32,
    pub budget: u32,
    #[serde(default)]
    pub device: u32,
    pub irq: Option<u16>,
    #[serde(default)]
    pub softirq: u64,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    pub pid: u32,
    pub tgid: u32,
    pub name: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CountersSpec {
    #[serde(default)]
    pub segments_lost: u64,
    #[serde(default)]
    pub births_lost: u64,
}

impl CountersSpec {
    pub fn counters(&self) -> KernelCounters {
        let mut counters = KernelCounters::default();
        counters.0[Counter::SegmentsLost as usize] = self.segments_lost;
        counters.0[Counter::BirthsLost as usize] = self.births_lost;
        counters
    }
}

/// A journey that must come out.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub direction: String,
    pub outcome: String,
    /// Name of its first headers.
    pub packet: Option<String>,
    pub start: u64,
    /// `"transmit netns 1 out 2: sent"`
    pub legs: Vec<String>,
    /// `"0 send 100"`: leg, name, ns; ` gap` behind where it is one.
    pub stages: Vec<String>,
    /// `"split_from 1"`
    #[serde(default)]
    pub links: Vec<String>,
    /// `"77 client"`: thread and name.
    pub sender: Option<String>,
    pub receiver: Option<String>,
    /// `"leg 1 cpu 0: 3 of 64 in 5000 ns"`
    #[serde(default)]
    pub polls: Vec<String>,
    /// `"reason 2 at 0xff in input"`
    pub drop: Option<String>,
    #[serde(default)]
    pub partial: bool,
    /// Names of later headers.
    #[serde(default)]
    pub rewrites: Vec<String>,
}

#[derive(Deserialize, Debug, PartialEq, Eq, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSpec {
    pub seen: u64,
    pub delivered: u64,
    pub sent: u64,
    pub forwarded: u64,
    pub dropped: u64,
    pub consumed: u64,
    pub unfinished: u64,
    pub lost: u64,
    pub late: u64,
    pub evicted: u64,
}

impl Scenario {
    pub fn probed(&self) -> Probed {
        self.not_probed.iter().fold(Probed::ALL, |set, name| {
            set.without(crate::wire::hook(name).0)
        })
    }
}
