//! What was packed is what comes out again.

use std::net::Ipv6Addr;

use super::*;
use crate::decode::tests::Random;

fn any_flow(random: &mut Random) -> Flow {
    let mut address = [0; 16];
    address.fill_with(|| random.next() as u8);
    let [source, destination] = if random.below(2) == 0 {
        [
            IpAddr::V6(Ipv6Addr::from(address)),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    } else {
        [
            IpAddr::V4(Ipv4Addr::from_bits(random.next() as u32)),
            NO_ADDRESS,
        ]
    };
    let mut some = || random.below(2) == 0;
    let [ports, tcp, icmp, ip_id, fragment] = [some(), some(), some(), some(), some()];
    Flow {
        source,
        destination,
        protocol: random.next() as u8,
        ports: ports.then(|| (random.next() as u16, random.next() as u16)),
        tcp: tcp.then(|| TcpSegment {
            seq: random.next() as u32,
            ack: random.next() as u32,
            payload: random.next() as u32,
            flags: random.next() as u8,
        }),
        icmp: icmp.then(|| (random.next() as u8, random.next() as u8)),
        ip_id: ip_id.then(|| random.next() as u32),
        ttl: random.next() as u8,
        fragment: fragment.then(|| (random.next() as u16, random.below(2) == 0)),
    }
}

fn any_point(random: &mut Random) -> Point {
    Point::from_repr(random.below(Point::Drop as u64 + 1) as u8).expect("a point")
}

fn any_extra(random: &mut Random) -> Extra {
    let mut extra = Extra::default();
    for _ in 0..random.below(3) {
        extra.rewrites.push(any_flow(random));
        extra.links.push(Link {
            kind: LinkKind::from_repr(random.below(4) as u8).expect("a kind"),
            journey: JourneyId(random.next()),
        });
        let poll = Poll {
            leg: random.next() as u16,
            cpu: random.next() as u16,
            work: random.next() as u32,
            budget: random.next() as u32,
            ns: random.next(),
            ifindex: random.next() as u32,
            irq: (random.below(2) == 0).then(|| random.next() as u16),
            softirq: (random.below(2) == 0).then(|| random.next()),
        };
        extra.polls.push((random.next() as u8, poll));
    }
    extra
}

/// One that no kernel would give: any value in any field.
fn any_journey(random: &mut Random) -> Open {
    let mut open = Open::new(JourneyId(random.next()), Side::Receive, Vec::new());
    open.head = 7;
    let mut time = random.next();
    for _ in 0..random.below(200) {
        time = match random.below(4) {
            0 => random.next(),
            _ => time.wrapping_add(random.below(100_000)),
        };
        let few = |random: &mut Random| random.below(3) as u8;
        open.stamps.push(Stamp {
            time,
            cpu: random.below(3) as u16 * 4_095,
            point: any_point(random),
            leg: few(random),
            place: few(random),
            arg: few(random) / 2,
        });
    }
    for _ in 0..random.below(6) {
        open.places.index(Place {
            netns: random.next() as u32,
            ifindex: random.next() as u32,
        });
    }
    for flag in [
        &mut open.tunnel,
        &mut open.waits,
        &mut open.datagram,
        &mut open.registered,
        &mut open.retransmitted,
        &mut open.told_in,
        &mut open.told_out,
        &mut open.sent_here,
        &mut open.partial,
    ] {
        *flag = random.below(2) == 0;
    }
    open.side = Side::from_repr(random.below(3) as u8).expect("a side");
    open.seen = Points::from_bits(random.next());
    open.ever = match random.below(2) {
        0 => open.seen,
        _ => Points::from_bits(random.next()),
    };
    open.last = match random.below(3) {
        0 => None,
        1 => open.stamps.last().map(|s| (s.point, s.time, s.cpu)),
        _ => Some((any_point(random), random.next(), random.next() as u16)),
    };
    [open.leg, open.at] = [random.next() as u8, random.next() as u8];
    for number in [&mut open.sk_in, &mut open.sk_out] {
        *number = random.below(2) * random.next();
    }
    for thread in [&mut open.sender, &mut open.receiver]
        .into_iter()
        .chain(&mut open.woken)
    {
        *thread = random.below(4) as u32 / 3 * random.next() as u32;
    }
    open.flow = (random.below(4) != 0).then(|| any_flow(random));
    open.extra = (random.below(2) == 0).then(|| Box::new(any_extra(random)));
    open.len = random.next() as u32;
    open.ether_type = random.next() as u16;
    open
}

#[test]
fn who_wakes_is_who_fell_asleep() {
    let mut random = Random(1);
    for _ in 0..2_000 {
        let mut open = any_journey(&mut random);
        assert!(can_sleep(&open));
        let mut bytes = Vec::new();
        pack(&mut open, &mut bytes);
        let mut blank = Open::new(JourneyId(0), Side::Receive, Vec::new());
        blank.head = open.head;
        let woken = unpack(&bytes, blank);
        assert_eq!(woken, open);
    }
}

#[test]
fn bytes_cut_short_make_some_journey() {
    let mut random = Random(2);
    let mut bytes = Vec::new();
    pack(&mut any_journey(&mut random), &mut bytes);
    for length in 0..bytes.len() {
        let blank = Open::new(JourneyId(0), Side::Receive, Vec::new());
        unpack(&bytes[..length], blank);
    }
}
