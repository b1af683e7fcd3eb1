//! A journey of which nothing was heard for a while, as bytes.
//!
//! What is open for long waits in a queue, and may be one of very many. Awake it has room for what may still come; asleep it
//! has what it is: short times between stamps, and a bit for what most journeys have not.
//!
//! Writing and reading are one list of fields ([`whole`]), so what is read is what was written.

use std::net::{IpAddr, Ipv4Addr};

use super::model::{Flow, JourneyId, Link, LinkKind, Poll, TcpSegment};
use super::open::{Extra, Open, Side, Stamp, State};
use super::places::Place;
use super::point::{Point, Points};

/// Whether [`pack`] has room for all that the journey is. One that ended is given out soon.
pub(super) fn can_sleep(open: &Open) -> bool {
    open.is_open() && open.extra.as_ref().is_none_or(|e| e.drop.is_none())
}

/// Appends a journey's bytes.
pub(super) fn pack(open: &mut Open, bytes: &mut Vec<u8>) {
    whole(&mut Writer(bytes), open);
}

/// The journey whose bytes these are, made of a new one with the same `head`.
pub(super) fn unpack(bytes: &[u8], mut open: Open) -> Open {
    whole(&mut Reader(bytes), &mut open);
    open
}

/// Writes the values that it is given, or reads those that were written; it gives back what is in the bytes now.
trait Tape {
    fn raw<const N: usize>(&mut self, value: [u8; N]) -> [u8; N];

    fn byte(&mut self, value: u8) -> u8 {
        let [value] = self.raw([value]);
        value
    }

    fn short(&mut self, value: u16) -> u16 {
        u16::from_ne_bytes(self.raw(value.to_ne_bytes()))
    }

    fn int(&mut self, value: u32) -> u32 {
        u32::from_ne_bytes(self.raw(value.to_ne_bytes()))
    }

    fn long(&mut self, value: u64) -> u64 {
        u64::from_ne_bytes(self.raw(value.to_ne_bytes()))
    }

    /// So many flags as a `u16` has bits.
    fn flags<const N: usize>(&mut self, flags: [&mut bool; N]) {
        let bits = (0..).zip(&flags).map(|(i, flag)| u16::from(**flag) << i);
        let bits = self.short(bits.sum());
        for (i, flag) in (0..).zip(flags) {
            *flag = bits >> i & 1 != 0;
        }
    }

    /// A list's length, and what is new in it is `blank`.
    fn list<T: Clone>(&mut self, list: &mut Vec<T>, blank: T) {
        let count = self.int(list.len() as u32);
        list.resize(count as usize, blank);
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Tape for Writer<'_> {
    fn raw<const N: usize>(&mut self, value: [u8; N]) -> [u8; N] {
        self.0.extend_from_slice(&value);
        value
    }
}

/// Past its end all is 0.
struct Reader<'a>(&'a [u8]);

impl Tape for Reader<'_> {
    fn raw<const N: usize>(&mut self, _: [u8; N]) -> [u8; N] {
        let (value, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *value
    }
}

/// All of a journey but its `head`.
fn whole(tape: &mut impl Tape, open: &mut Open) {
    stamps(tape, &mut open.stamps);
    // By name, so that none is forgotten.
    let Open {
        id: JourneyId(id),
        state,
        seen,
        ever,
        last,
        side,
        leg,
        at,
        tunnel,
        waits,
        datagram,
        registered,
        retransmitted,
        stamps,
        places,
        sk_in,
        sk_out,
        told_in,
        told_out,
        sent_here,
        partial,
        sender,
        receiver,
        woken: [first, second],
        flow,
        extra,
        head: _,
        len,
        ether_type,
    } = open;
    *state = State::Open;
    let usual = stamps.last().map(|s| (s.point, s.time, s.cpu));
    let (mut last_usual, mut ever_seen) = (*last == usual, ever == seen);
    let (mut sent, mut received) = (*sk_out != 0, *sk_in != 0);
    let mut threads = (*sender, *receiver, *first, *second) != (0, 0, 0, 0);
    let (mut has_flow, mut has_extra) = (flow.is_some(), extra.is_some());
    tape.flags([
        waits,
        datagram,
        told_in,
        told_out,
        sent_here,
        partial,
        tunnel,
        registered,
        retransmitted,
        &mut last_usual,
        &mut ever_seen,
        &mut sent,
        &mut received,
        &mut threads,
        &mut has_flow,
        &mut has_extra,
    ]);
    *id = tape.long(*id);
    *seen = Points::from_bits(tape.long(seen.bits()));
    *ever = if ever_seen {
        *seen
    } else {
        Points::from_bits(tape.long(ever.bits()))
    };
    *side = Side::from_repr(tape.byte(*side as u8)).unwrap_or(*side);
    *leg = tape.byte(*leg);
    *at = tape.byte(*at);
    if last_usual {
        *last = usual;
    } else if tape.byte(last.is_some().into()) != 0 {
        let (point, time, cpu) = last.get_or_insert((Point::Gro, 0, 0));
        *point = Point::from_repr(tape.byte(*point as u8)).unwrap_or(*point);
        *time = tape.long(*time);
        *cpu = tape.short(*cpu);
    }
    for at in 0..tape.byte(places.count()) {
        let Place { netns, ifindex } = places.get(at);
        places.index(Place {
            netns: tape.int(netns),
            ifindex: tape.int(ifindex),
        });
    }
    if received {
        *sk_in = tape.long(*sk_in);
    }
    if sent {
        *sk_out = tape.long(*sk_out);
    }
    if threads {
        for thread in [sender, receiver, first, second] {
            *thread = tape.int(*thread);
        }
    }
    if has_flow {
        self::flow(tape, flow.get_or_insert(NO_FLOW));
    }
    *len = tape.int(*len);
    *ether_type = tape.short(*ether_type);
    if has_extra {
        self::extra(tape, extra.get_or_insert_default());
    }
}

/// Marks a stamp that says more than when it was taken, little after the one before.
const MORE: u8 = 1 << 7;
const _: () = assert!((Point::Drop as u8) < MORE);

fn stamps(tape: &mut impl Tape, stamps: &mut Vec<Stamp>) {
    let mut before = Stamp {
        time: 0,
        cpu: 0,
        point: Point::Gro,
        leg: 0,
        place: 0,
        arg: 0,
    };
    tape.list(stamps, before);
    for stamp in stamps {
        let after = u16::try_from(stamp.time.wrapping_sub(before.time));
        let usual = Stamp {
            time: stamp.time,
            point: stamp.point,
            ..before
        };
        let more = after.is_err() || *stamp != usual;
        let marked = tape.byte(stamp.point as u8 | if more { MORE } else { 0 });
        let point = Point::from_repr(marked & !MORE).unwrap_or(stamp.point);
        *stamp = if marked & MORE == 0 {
            Stamp {
                time: before.time + u64::from(tape.short(after.unwrap_or(0))),
                point,
                ..before
            }
        } else {
            let (time, cpu) = (tape.long(stamp.time), tape.short(stamp.cpu));
            let [leg, place, arg] = tape.raw([stamp.leg, stamp.place, stamp.arg]);
            Stamp {
                time,
                cpu,
                point,
                leg,
                place,
                arg,
            }
        };
        before = Stamp { arg: 0, ..*stamp };
    }
}

const NO_FLOW: Flow = Flow {
    source: NO_ADDRESS,
    destination: NO_ADDRESS,
    protocol: 0,
    ports: None,
    tcp: None,
    icmp: None,
    ip_id: None,
    ttl: 0,
    fragment: None,
};
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn flow(tape: &mut impl Tape, flow: &mut Flow) {
    let mut v6 = flow.source.is_ipv6();
    let (mut ports, mut tcp) = (flow.ports.is_some(), flow.tcp.is_some());
    let (mut icmp, mut ip_id) = (flow.icmp.is_some(), flow.ip_id.is_some());
    let mut fragment = flow.fragment.is_some();
    tape.flags([
        &mut v6,
        &mut ports,
        &mut tcp,
        &mut icmp,
        &mut ip_id,
        &mut fragment,
    ]);
    for address in [&mut flow.source, &mut flow.destination] {
        *address = match (*address, v6) {
            (IpAddr::V6(address), true) => IpAddr::V6(tape.raw(address.octets()).into()),
            (IpAddr::V4(_), true) => IpAddr::V6(tape.raw([0; 16]).into()),
            (IpAddr::V4(address), false) => IpAddr::V4(tape.raw(address.octets()).into()),
            (IpAddr::V6(_), false) => IpAddr::V4(tape.raw([0; 4]).into()),
        };
    }
    [flow.protocol, flow.ttl] = tape.raw([flow.protocol, flow.ttl]);
    if ports {
        let (source, destination) = flow.ports.get_or_insert_default();
        *source = tape.short(*source);
        *destination = tape.short(*destination);
    }
    if tcp {
        let tcp = flow.tcp.get_or_insert(TcpSegment {
            seq: 0,
            ack: 0,
            payload: 0,
            flags: 0,
        });
        tcp.seq = tape.int(tcp.seq);
        tcp.ack = tape.int(tcp.ack);
        tcp.payload = tape.int(tcp.payload);
        tcp.flags = tape.byte(tcp.flags);
    }
    if icmp {
        let icmp = flow.icmp.get_or_insert_default();
        *icmp = tape.raw((*icmp).into()).into();
    }
    if ip_id {
        let id = flow.ip_id.get_or_insert_default();
        *id = tape.int(*id);
    }
    if fragment {
        let (offset, more) = flow.fragment.get_or_insert_default();
        *offset = tape.short(*offset);
        tape.flags([more]);
    }
}

/// What few journeys have, but a drop's description, which ends them.
fn extra(tape: &mut impl Tape, extra: &mut Extra) {
    tape.list(&mut extra.rewrites, NO_FLOW);
    for rewrite in &mut extra.rewrites {
        flow(tape, rewrite);
    }
    let no_link = Link {
        kind: LinkKind::CloneOf,
        journey: JourneyId(0),
    };
    tape.list(&mut extra.links, no_link);
    for Link { kind, journey } in &mut extra.links {
        *kind = LinkKind::from_repr(tape.byte(*kind as u8)).unwrap_or(*kind);
        journey.0 = tape.long(journey.0);
    }
    tape.list(&mut extra.polls, (0, Poll::default()));
    for (number, poll) in &mut extra.polls {
        let Poll {
            leg,
            cpu,
            work,
            budget,
            ns,
            ifindex,
            irq,
            softirq,
        } = poll;
        *number = tape.byte(*number);
        for short in [leg, cpu] {
            *short = tape.short(*short);
        }
        for int in [work, budget, ifindex] {
            *int = tape.int(*int);
        }
        *ns = tape.long(*ns);
        let (mut has_irq, mut has_softirq) = (irq.is_some(), softirq.is_some());
        tape.flags([&mut has_irq, &mut has_softirq]);
        if has_irq {
            let irq = irq.get_or_insert_default();
            *irq = tape.short(*irq);
        }
        if has_softirq {
            let softirq = softirq.get_or_insert_default();
            *softirq = tape.long(*softirq);
        }
    }
}

#[cfg(test)]
mod tests;
