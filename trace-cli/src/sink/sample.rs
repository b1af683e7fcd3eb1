//! Journeys for tests of what is printed.

use std::net::{IpAddr, Ipv4Addr};

use crate::budget::{Account, Budget, Share, Spent};
use crate::dictionary::{Dictionary, Thread};
use crate::journey::model::{
    Direction, Drop, Flow, Journey, JourneyId, Leg, Link, LinkKind, Outcome, Poll, Process, Stage,
    StageState, TcpSegment,
};
use crate::journey::stage::StageName;
use crate::kernel::clock::ClockOffset;
use crate::kernel::symbols::{SourceLine, Symbol};
use crate::session::{NotProbed, PlanRow, PlanState, SCHEMA_VERSION, Sample, Session};

pub const CLIENT: u32 = 4_026_532_001;
pub const SERVER: u32 = 4_026_532_002;
pub const IN_MODULE: u64 = 0xffff_ffff_c000_0010;
const START: u64 = 5_000_000_000;

pub fn flow() -> Flow {
    Flow {
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        destination: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        protocol: 6,
        ports: Some((1234, 80)),
        tcp: Some(TcpSegment {
            seq: 1000,
            ack: 2000,
            payload: 100,
            flags: 0x18,
        }),
        icmp: None,
        ip_id: Some(7),
        ttl: 64,
        fragment: None,
    }
}

fn stages(spans: &[(StageName, u16, u64, StageState)]) -> Vec<Stage> {
    let mut start = START;
    spans
        .iter()
        .map(|&(name, leg, ns, state)| {
            start += ns;
            Stage {
                name,
                leg,
                start: start - ns,
                ns,
                cpu: leg,
                state,
            }
        })
        .collect()
}

/// Sent and read on this host, over veth.
pub fn delivered() -> Journey {
    use StageName as S;
    let (m, gap) = (StageState::Measured, StageState::Gap);
    let stages = stages(&[
        (S::Send, 0, 800, m),
        (S::IpOutput, 0, 450, m),
        (S::Output, 0, 1_230, m),
        (S::Driver, 0, 640, m),
        (S::NapiSchedule, 1, 2_100, m),
        (S::Receive, 1, 380, gap),
        (S::Transport, 1, 4_000, m),
        (S::SocketQueue, 1, 20_400_000, m),
        (S::Recv, 1, 1_500, m),
    ]);
    Journey {
        id: JourneyId(1),
        direction: Direction::Loop,
        outcome: Outcome::Delivered,
        flow: Some(flow()),
        rewrites: Vec::new(),
        len: 152,
        ether_type: 0x0800,
        start: START,
        total: stages.iter().map(|s| s.ns).sum(),
        legs: vec![
            Leg {
                netns: CLIENT,
                direction: Direction::Transmit,
                input: None,
                output: Some(2),
                outcome: Outcome::Sent,
            },
            Leg {
                netns: SERVER,
                direction: Direction::Receive,
                input: Some(3),
                output: None,
                outcome: Outcome::Delivered,
            },
        ],
        stages,
        drop: None,
        sender: Some(Process {
            pid: 41,
            tgid: 40,
            name: "curl".into(),
        }),
        receiver: Some(Process {
            pid: 51,
            tgid: 50,
            name: "nginx".into(),
        }),
        polls: vec![Poll {
            leg: 1,
            cpu: 1,
            work: 12,
            budget: 64,
            ns: 45_600,
            ifindex: 0,
            irq: None,
            softirq: Some(START + 3_200),
        }],
        links: Vec::new(),
        partial: false,
    }
}

/// Came in by a card, found no socket.
pub fn dropped() -> Journey {
    use StageName as S;
    let m = StageState::Measured;
    let stages = stages(&[
        (S::Interrupt, 0, 500, m),
        (S::Receive, 0, 1_000, m),
        (S::Transport, 0, 2_500, m),
    ]);
    Journey {
        id: JourneyId(2),
        direction: Direction::Receive,
        outcome: Outcome::Dropped,
        flow: Some(Flow {
            protocol: 17,
            ports: Some((1234, 53)),
            tcp: None,
            ..flow()
        }),
        rewrites: vec![Flow {
            protocol: 17,
            ports: Some((1234, 5353)),
            tcp: None,
            ..flow()
        }],
        total: 4_000,
        legs: vec![Leg {
            netns: SERVER,
            direction: Direction::Receive,
            input: Some(4),
            output: None,
            outcome: Outcome::Dropped,
        }],
        drop: Some(Drop {
            reason: Some(3),
            location: 0xffff_ffff_8100_0042,
            stage: S::Transport,
            stack: vec![0xffff_ffff_8100_0042, IN_MODULE, 0xffff_ffff_8200_0000],
            time: START + 4_000,
            cpu: 0,
        }),
        stages,
        sender: None,
        receiver: None,
        polls: vec![Poll {
            leg: 0,
            cpu: 0,
            work: 3,
            budget: 64,
            ns: 9_000,
            ifindex: 4,
            irq: Some(24),
            softirq: Some(START + 600),
        }],
        links: vec![Link {
            kind: LinkKind::CloneOf,
            journey: JourneyId(1),
        }],
        ..delivered()
    }
}

pub fn names() -> Dictionary {
    let mut names = Dictionary::new(ClockOffset {
        offset_ns: 1_800_000_000_123_456_789,
        uncertainty_ns: 40,
    });
    names.insert_namespace(CLIENT, "client");
    names.insert_namespace(SERVER, "server");
    names.insert_interface(CLIENT, 2, "veth0");
    names.insert_interface(SERVER, 3, "veth1");
    names.insert_interface(SERVER, 4, "eth0");
    names.insert_drop_reason(3, "NO_SOCKET");
    names.insert_symbol(
        0xffff_ffff_8100_0042,
        Symbol {
            function: Some("__udp4_lib_rcv".into()),
            offset: 0x42,
            module: None,
            source: Some(SourceLine {
                file: "net/ipv4/udp.c".into(),
                line: 2501,
            }),
        },
    );
    names.insert_symbol(
        IN_MODULE,
        Symbol {
            function: Some("nf_hook".into()),
            offset: 0x10,
            module: Some("nf_tables".into()),
            source: None,
        },
    );
    names.insert_thread(
        41,
        Thread {
            tgid: 40,
            name: "curl".into(),
        },
    );
    names
}

pub fn account() -> Account {
    Account {
        budget: Share::of(2, 100),
        spent: Spent {
            programs_ns: 500_000_000,
            own_ns: 102_400_000,
        },
        took: Share::of(15, 1_000),
        one_in: 100,
        changes: 3,
    }
}

pub fn session() -> Session {
    let row =
        |hook: &str, kind: &str, target: &str, state, reason: Option<&str>, netns: Option<&str>| {
            PlanRow {
                hook: hook.into(),
                kind: kind.into(),
                target: target.into(),
                state,
                reason: reason.map(Into::into),
                netns: netns.map(Into::into),
            }
        };
    Session {
        schema_version: SCHEMA_VERSION,
        version: "0.1.0".into(),
        host: "box".into(),
        kernel: "6.18.0".into(),
        arch: "x86_64".into(),
        clock: names().clock(),
        start_ns: START,
        command: "trace".into(),
        filter: Some("tcp".into()),
        sample: Some(Sample { one_in: 100 }),
        budget: Some(Budget {
            share: Share::of(2, 100),
            cpus: 4,
        }),
        attach_plan: vec![
            row(
                "receive",
                "tp_btf",
                "netif_receive_skb",
                PlanState::Attached,
                None,
                None,
            ),
            row(
                "ip",
                "kprobe",
                "ip_rcv_core",
                PlanState::Failed,
                Some("no kprobes"),
                None,
            ),
            row(
                "nf_first",
                "nf",
                "ip PREROUTING",
                PlanState::Skipped,
                Some("not asked for"),
                Some("client"),
            ),
        ],
        not_probed: vec![NotProbed {
            stage: "tc_ingress".into(),
            why: "fentry tcf_classify: EPERM".into(),
        }],
    }
}
