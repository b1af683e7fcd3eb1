//! Properties that must hold whatever comes in.

use trace_ebpf::{Hook, MAX_ENTRIES, PACKET_BYTES, SegmentHead, Tag, flags};

use super::*;
use crate::decode::{DropRecord, PollRecord, Segment, SocketRecord, Tags, tests::Random};
use crate::journey::{
    model::Outcome,
    open::{Open, Stamp},
};

/// Headers of TCP, UDP or ICMP, from few addresses, so that packets look alike.
fn headers(random: &mut Random) -> [u8; PACKET_BYTES] {
    let mut bytes = [0; PACKET_BYTES];
    bytes[0] = 0x45;
    bytes[3] = 60;
    bytes[5] = random.below(4) as u8;
    bytes[9] = [6, 6, 17, 1][random.below(4) as usize];
    bytes[15] = random.below(2) as u8;
    bytes[19] = random.below(2) as u8;
    bytes[23] = random.below(2) as u8;
    bytes[27] = random.below(4) as u8 * 10;
    bytes[32] = if random.below(2) == 0 {
        10 << 4
    } else {
        5 << 4
    };
    bytes[33] = random.below(32) as u8;
    bytes
}

/// Where a segment's headers and entries lie.
#[derive(Default)]
struct Space {
    packet: Vec<u8>,
    entries: Vec<[u8; 8]>,
}

fn any_record<'a>(random: &mut Random, time: u64, space: &'a mut Space) -> Record<'a> {
    let cpu = random.below(3) as u16;
    let near = time.saturating_add(random.below(3_000));
    let skb = random.below(6);
    match random.below(20) {
        0 => Record::Drop(DropRecord {
            cpu,
            ether_type: 0x0800,
            skb,
            time: near,
            location: 1,
            reason: None,
            shared: random.below(2) == 0,
            stack: Vec::new(),
        }),
        1 | 2 => Record::Socket(SocketRecord {
            op: [
                SocketOp::Send,
                SocketOp::Receive,
                SocketOp::ReceiveEnd,
                SocketOp::Retransmit,
                SocketOp::Datagram,
                SocketOp::DatagramAt,
                SocketOp::DatagramBefore,
            ][random.below(7) as usize],
            cpu,
            start: near,
            end: (random.below(2) == 0).then_some(time.saturating_add(random.below(9_000))),
            sk: random.below(3),
            seq: random.below(40) as u32,
            len: random.below(40) as u32,
            pid: random.below(3) as u32,
        }),
        3 => Record::Poll(PollRecord {
            cpu,
            irq: None,
            number: random.below(5) as u32,
            ifindex: 1,
            start: near,
            end: time,
            work: 1,
            budget: 64,
            softirq: None,
        }),
        _ => {
            let count = random.below(MAX_ENTRIES as u64 + 1) as usize;
            let mut at = 0;
            space.entries.clear();
            for _ in 0..count {
                // Mostly in order, as the kernel side sends them, but not always.
                at = if random.below(8) == 0 {
                    random.below(3_000)
                } else {
                    at + random.below(100)
                };
                let tag = match random.below(8) {
                    0 => 128 + random.below(8) as u8,
                    _ => 1 + random.below(34) as u8,
                };
                let value = match tag {
                    t if t == Tag::Device as u8 || t == Tag::Netns as u8 => random.below(3) as u32,
                    t if t >= 128 => random.below(5) as u32,
                    _ => at as u32,
                };
                let a = random.below(6) as u8;
                let b = random.below(3) as u8;
                let [v0, v1, v2, v3] = value.to_le_bytes();
                space.entries.push([v0, v1, v2, v3, tag, a, b, 0]);
            }
            let head = SegmentHead {
                flags: random.next() as u8,
                cpu,
                protocol: 0x0800,
                skb,
                t0: time,
                head: random.below(4),
                sk: random.below(3),
                len: random.next() as u32,
                netns: random.below(3) as u32,
                ifindex: random.below(3) as u32,
                ..SegmentHead::default()
            };
            space.packet = headers(random).to_vec();
            Record::Segment(Segment::new(
                &head,
                Tags::in_entries(&space.entries),
                &space.packet,
                space.entries.as_flattened(),
            ))
        }
    }
}

fn check(journey: &Journey) {
    let sum: u64 = journey.stages.iter().map(|s| s.ns).sum();
    assert_eq!(sum, journey.total, "{journey:#?}");
    let mut at = journey.start;
    let mut leg = 0;
    for stage in &journey.stages {
        assert_eq!(stage.start, at, "no hole between stages: {journey:#?}");
        assert!(stage.leg >= leg, "legs in order: {journey:#?}");
        at = at.saturating_add(stage.ns);
        leg = stage.leg;
    }
    assert!(!journey.legs.is_empty(), "{journey:#?}");
    assert_eq!(
        journey.legs.last().map(|l| l.outcome),
        Some(journey.outcome)
    );
    assert!(usize::from(leg) < journey.legs.len());
    assert_eq!(journey.outcome == Outcome::Dropped, journey.drop.is_some());
    assert!(
        journey
            .polls
            .iter()
            .all(|p| usize::from(p.leg) < journey.legs.len())
    );
    assert!(journey.links.iter().all(|l| l.journey != journey.id));
}

/// Whatever comes in: every journey's stages sum to its total, the ledger balances, and what is kept is
/// bounded.
#[test]
fn garbage_gives_balanced_journeys() {
    for seed in 1..=40u64 {
        let mut random = Random(seed);
        let limits = Limits {
            open_journeys: 4,
            age_ns: 50_000_000,
            hold_ns: 5_000_000,
            linger_ns: 2_000_000,
            awake: [usize::MAX, 2, 0][seed as usize % 3],
        };
        let mut space = Space::default();
        let mut assembler = Assembler::new(limits);
        if seed % 3 == 0 {
            assembler.set_probed(Probed::NONE);
        }
        let mut time = if seed % 5 == 0 {
            u64::MAX - 40_000_000
        } else {
            1_000_000
        };
        let mut given = 0;
        let mut last = 0;
        for _ in 0..3_000 {
            time = time.saturating_add(random.below(30_000));
            let back = if random.below(50) == 0 {
                random.below(20_000_000)
            } else {
                0
            };
            let record = any_record(&mut random, time.saturating_sub(back), &mut space);
            assembler.push(record);
            if random.below(10) == 0 {
                assembler.tick(time);
            }
            assert!(assembler.open_journeys() <= limits.open_journeys);
            assert!(assembler.lingering.len() <= 1024);
            while let Some(journey) = assembler.pop() {
                check(&journey);
                given += 1;
                last = last.max(journey.id.0);
            }
        }
        assembler.finish(time);
        while let Some(journey) = assembler.pop() {
            check(&journey);
            given += 1;
            last = last.max(journey.id.0);
        }
        let ledger = assembler.ledger();
        assert!(ledger.balances());
        assert_eq!(ledger.seen, given);
        assert_eq!(last, given, "every journey that began was given out once");
        assert_eq!(assembler.open_journeys(), 0);
        assert!(assembler.slab.is_empty());
    }
}

/// The same records give the same journeys, however often the caller's clock ticks, and however many journeys are asleep.
#[test]
fn ticks_and_sleep_do_not_change_journeys() {
    let run = |every: u64, awake: usize| {
        let mut random = Random(99);
        let mut space = Space::default();
        let mut assembler = Assembler::new(Limits {
            age_ns: 20_000_000,
            hold_ns: 10_000_000,
            awake,
            ..Limits::default()
        });
        let mut out = Vec::new();
        let mut time = 1_000_000;
        for i in 0..3_000u64 {
            time += random.below(20_000);
            let record = any_record(&mut random, time, &mut space);
            assembler.push(record);
            if i % every == 0 {
                assembler.tick(time);
                out.extend(std::iter::from_fn(|| assembler.pop()));
            }
        }
        assembler.finish(time);
        out.extend(std::iter::from_fn(|| assembler.pop()));
        out
    };
    let often = run(1, usize::MAX);
    assert!(often.len() > 100);
    for awake in [0, 3, usize::MAX] {
        assert_eq!(often, run(37, awake));
        assert_eq!(often, run(1_000_000, awake));
    }
}

/// Whoever waits for long is asleep, and at the end they wake one after the other.
#[test]
fn few_are_awake() {
    const COUNT: u64 = 5_000;
    const AWAKE: usize = 10;
    let mut random = Random(1);
    let mut assembler = Assembler::new(Limits {
        awake: AWAKE,
        ..Limits::default()
    });
    let hooks = [Hook::Receive, Hook::Ip, Hook::Transport, Hook::Queued];
    let entries: Vec<u8> = hooks
        .iter()
        .zip(0..)
        .flat_map(|(&hook, after)| [after, 0, 0, 0, hook as u8, 0, 0, 0])
        .collect();
    let tags = Tags::of(&hooks);
    let mut time = 1_000_000_000;
    for skb in 1..=COUNT {
        let head = SegmentHead {
            flags: flags::PACKET,
            protocol: 0x0800,
            skb,
            t0: time,
            netns: 1,
            ifindex: 2,
            ..SegmentHead::default()
        };
        let mut packet = headers(&mut random);
        packet[9] = 17;
        let segment = Segment::new(&head, tags, &packet, &entries);
        assembler.push(Record::Segment(segment));
        assembler.tick(time);
        assert_eq!(assembler.pop(), None);
        time += 100_000;
    }
    assert!(assembler.open_journeys() > 3_000);
    assembler.finish(time);
    let all: Vec<_> = std::iter::from_fn(|| assembler.pop()).collect();
    assert_eq!(all.len() as u64, COUNT);
    assert!(all.is_sorted_by_key(|journey| journey.id));
    for journey in &all {
        check(journey);
        assert_eq!(journey.stages.len(), 3);
    }
    // Those of which something was heard in the last milliseconds.
    let most = assembler.slab.most_awake();
    assert!(most < AWAKE + 100, "{most} were awake");
    assert!(assembler.slab.is_empty());
}

/// What one open journey costs: see the bound in the project's tests of memory.
#[test]
fn an_open_journey_is_small() {
    assert_eq!(size_of::<Open>(), 272);
    assert_eq!(size_of::<Stamp>(), 16);
}
