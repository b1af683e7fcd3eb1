//! Joins records to journeys. Every decision is another file's; this one holds the state and says who is
//! asked when.
//!
//! Time here is *stream time*: the time of the record in hand, never the caller's clock. Deadlines are
//! met in their own order between records, so how often [`Assembler::tick`] is called changes when a
//! journey is given out, not what it says.

use std::collections::VecDeque;

use trace_ebpf::{Counter, Hook, SocketOp, flags};

use crate::decode::{DropRecord, Item, PollRecord, Record, Segment, SocketRecord};

use super::connections::Connections;
use super::flow;
use super::hash::ByAddress;
use super::identity::{Sight, Verdict, judge};
use super::ledger::{Balance, KernelCounters};
use super::links::Links;
use super::model::{
    Drop, Flow, Journey, JourneyId, Ledger, Link, LinkKind, Losses, Outcome, Unfinished,
};
use super::names::Names;
use super::open::{Open, Place, Side, Stamp, State};
use super::outcome;
use super::point::{
    ARRIVAL, BEGINNINGS, LOCAL_OUTPUT, OUTBOUND, Point, Points, SENDING, SOCKET, TRAILING,
    TRANSPORT,
};
use super::polls::Polls;
use super::probed::Probed;
use super::reorder::Hold;
use super::slab::{NONE, Ref, Slab};
use super::sockets::{Fit, Sending, Sockets};
use super::stages;

/// How long a TCP segment without payload may be silent, once it reached its transport, before it counts
/// as used up.
const CONSUME_NS: u64 = 50_000_000;
/// A drop's record and its stamp are taken by one program run.
const DROP_NS: u64 = 100_000;
/// Empty lists of stamps that are kept.
const SPARE: usize = 4096;
/// Records held back at most, for each journey that may be open.
const HELD_FOR_EACH: usize = 4;

/// Bounds of the assembler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Journeys open at once; beyond, the one not heard of for the longest time is given up.
    pub open_journeys: usize,
    /// A journey not heard of for so long is given up.
    pub age_ns: u64,
    /// How long records wait for older ones.
    pub hold_ns: u64,
    /// How long a finished journey waits for late records.
    pub linger_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_journeys: 65_536,
            age_ns: 10_000_000_000,
            hold_ns: 100_000_000,
            linger_ns: 50_000_000,
        }
    }
}

/// Rebuilds journeys from records.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    probed: Probed,
    queue_purge: Option<u32>,
    hold: Hold,
    slab: Slab,
    open: usize,
    by_skb: ByAddress<u64, Ref>,
    sockets: Sockets,
    connections: Connections,
    polls: Polls,
    links: Links,
    names: Names,
    balance: Balance,
    /// Journeys that end when they stay silent until then.
    quiet: VecDeque<(u64, Ref)>,
    /// Finished journeys, and when they are given out.
    lingering: VecDeque<(u64, Ref)>,
    out: VecDeque<Journey>,
    /// Memory of journeys that are gone, for new ones.
    spare: Vec<Vec<Stamp>>,
    last_id: u64,
    /// Stream time.
    now: u64,
    /// Everything older was given on.
    watermark: u64,
    /// Stream time of the last loss the kernel side told of.
    lost_at: Option<u64>,
}

/// A segment that is being read.
struct Reading<'a> {
    segment: &'a Segment,
    flow: Option<Flow>,
    place: Place,
    /// The journey its last stamp went to.
    journey: Option<Ref>,
    /// What a thread id that comes next says.
    stamped: Option<Point>,
    /// Stamps of the CPU's context, until the packet's own stamp they lead to.
    context: Vec<(Point, u64)>,
    poll: Option<u32>,
    /// A thread id that came before any stamp.
    sender: u32,
    /// The journey began in this segment.
    began: bool,
    /// The headers were shown to identity.
    shown: bool,
    /// It came after its time.
    late: bool,
    /// … and its journey is gone.
    stray: bool,
}

impl Assembler {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            probed: Probed::ALL,
            queue_purge: None,
            hold: Hold::new(limits.open_journeys.saturating_mul(HELD_FOR_EACH).max(1024)),
            slab: Slab::default(),
            open: 0,
            by_skb: ByAddress::default(),
            sockets: Sockets::default(),
            connections: Connections::default(),
            polls: Polls::default(),
            links: Links::default(),
            names: Names::default(),
            balance: Balance::default(),
            quiet: VecDeque::new(),
            lingering: VecDeque::new(),
            out: VecDeque::new(),
            spare: Vec::new(),
            last_id: 0,
            now: 0,
            watermark: 0,
            lost_at: None,
        }
    }

    /// Says which hooks the attach plan could attach; until then all count as attached.
    pub fn set_probed(&mut self, probed: Probed) {
        self.probed = probed;
    }

    /// Tells the number of `SKB_DROP_REASON_QUEUE_PURGE` on this kernel (6.3+): what a closed socket's queue
    /// still held. For a FIN that is its end, not a loss.
    pub fn set_queue_purge(&mut self, reason: Option<u32>) {
        self.queue_purge = reason;
    }

    /// Takes a record, from any ring.
    pub fn push(&mut self, mut record: Record) {
        if let Record::Segment(segment) = &mut record
            && let Some(time) = end_after_transport(segment)
            && let Some(end) = segment.split_last()
        {
            self.push_held(record);
            let cpu = end.cpu;
            self.hold.push(time, cpu, Record::Segment(end));
            return;
        }
        self.push_held(record);
    }

    fn push_held(&mut self, record: Record) {
        let (time, cpu) = match &record {
            Record::Segment(s) => (own_time(s), s.cpu),
            Record::Drop(d) => (d.time, d.cpu),
            Record::Socket(s) if matches!(s.op, SocketOp::ReceiveEnd | SocketOp::Datagram) => {
                (s.end.unwrap_or(s.start), s.cpu)
            }
            Record::Socket(s) => (s.start, s.cpu),
            Record::Poll(p) => (p.start, p.cpu),
            Record::Device(_) => return,
            Record::Process(_) => {
                if let Record::Process(p) = record {
                    self.names.learn(p);
                }
                return;
            }
        };
        self.hold.push(time, cpu, record);
        if self.hold.is_over_full()
            && let Some(records) = self.hold.take_oldest()
        {
            self.process_all(records);
        }
    }

    /// A record that could not be decoded.
    pub fn push_damaged(&mut self) {
        self.balance.damaged += 1;
    }

    /// The kernel side's counters, summed over CPUs.
    pub fn set_counters(&mut self, counters: KernelCounters) {
        let before = self.balance.kernel;
        let more = |c| counters.get(c) > before.get(c);
        if more(Counter::SegmentsLost) || more(Counter::RecordsLost) {
            self.lost_at = Some(self.now);
        }
        self.balance.kernel = counters;
    }

    /// It is `now`: what has been held back for long enough is used.
    pub fn tick(&mut self, now: u64) {
        let due = now.saturating_sub(self.limits.hold_ns);
        while let Some(records) = self.hold.take(due) {
            self.process_all(records);
        }
        self.watermark = self.watermark.max(Hold::horizon(due));
        self.now = self.now.max(self.watermark);
        self.expire(self.now);
        self.sockets
            .expire(self.now.saturating_sub(self.limits.age_ns));
        self.sockets.sweep(|r| self.slab.get(r).is_some());
    }

    /// The trace ended: uses all records, ends all journeys and gives them out.
    pub fn finish(&mut self, now: u64) {
        while let Some(records) = self.hold.take_oldest() {
            self.process_all(records);
        }
        self.now = self.now.max(now.saturating_sub(self.limits.hold_ns));
        self.expire(self.now);
        let mut rest = self.slab.refs();
        rest.sort_by_key(|r| r.id);
        for journey in rest {
            self.end_silently(journey, Unfinished::TraceEnded);
        }
        while let Some((_, journey)) = self.lingering.pop_front() {
            self.give_out(journey);
        }
        self.quiet.clear();
    }

    /// The next finished journey.
    pub fn pop(&mut self) -> Option<Journey> {
        self.out.pop_front()
    }

    /// The balance of all journeys given out so far.
    pub fn ledger(&self) -> Ledger {
        self.balance.ledger()
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        self.balance.losses()
    }

    /// Journeys that are open now.
    pub fn open_journeys(&self) -> usize {
        self.open
    }

    fn process_all(&mut self, records: Vec<(u64, Record)>) {
        for (time, record) in records {
            let late = time < self.watermark;
            self.now = self.now.max(time);
            self.expire(self.now);
            match record {
                Record::Segment(segment) => self.segment(&segment, late),
                Record::Drop(record) => self.dropped(&record),
                Record::Socket(record) => self.socket(&record),
                Record::Poll(record) => self.poll(&record),
                Record::Device(_) | Record::Process(_) => {}
            }
        }
    }

    /// Meets all deadlines up to `until`, in their order.
    fn expire(&mut self, until: u64) {
        loop {
            let quiet = self.quiet.front().map_or(u64::MAX, |q| q.0);
            let linger = self.lingering.front().map_or(u64::MAX, |l| l.0);
            let aged = self
                .slab
                .oldest()
                .and_then(|r| self.slab.get(r))
                .map_or(u64::MAX, |o| o.heard.saturating_add(self.limits.age_ns));
            let next = quiet.min(linger).min(aged);
            if next >= until || next == u64::MAX {
                return;
            }
            let stream = std::mem::replace(&mut self.now, next);
            if next == linger {
                if let Some((_, journey)) = self.lingering.pop_front() {
                    self.give_out(journey);
                }
            } else if next == quiet {
                if let Some((_, journey)) = self.quiet.pop_front() {
                    let silent = self.slab.get(journey).is_some_and(|o| {
                        o.is_open()
                            && o.heard.saturating_add(CONSUME_NS) <= next
                            && outcome::ends_soon(o)
                    });
                    if silent {
                        self.end_silently(journey, Unfinished::Aged);
                    }
                }
            } else if let Some(journey) = self.slab.oldest() {
                self.end_silently(journey, Unfinished::Aged);
            }
            self.now = stream;
        }
    }

    fn segment(&mut self, segment: &Segment, late: bool) {
        let mut reading = Reading {
            segment,
            flow: segment
                .packet
                .filter(|_| segment.flags & flags::UNREADABLE == 0)
                .and_then(|bytes| flow::parse(&bytes, segment.ether_type, segment.len)),
            place: Place {
                netns: segment.netns,
                ifindex: segment.ifindex,
            },
            journey: self.by_skb.get(&segment.skb).copied(),
            stamped: None,
            context: Vec::new(),
            poll: None,
            sender: 0,
            began: false,
            shown: false,
            late,
            stray: false,
        };
        reading.journey = reading.journey.filter(|&r| self.slab.get(r).is_some());
        for item in segment.items() {
            match item {
                Item::Device(ifindex) => reading.place.ifindex = ifindex,
                Item::Netns(netns) => reading.place.netns = netns,
                Item::Poll(number) => reading.poll = Some(number),
                Item::Pid(pid) => self.thread(&mut reading, pid),
                Item::Stamp { hook, time, a, b } => {
                    reading.stamped = None;
                    let Some(point) = Point::of(hook, a, b) else {
                        continue;
                    };
                    if reading.stray {
                        continue;
                    }
                    if point.is_poll_context() {
                        reading.context.push((point, time));
                    } else {
                        let arg = match point {
                            Point::XmitDone => u8::try_from(b).unwrap_or(u8::MAX),
                            _ => a,
                        };
                        self.stamp(&mut reading, point, time, arg);
                    }
                }
            }
        }
        if let Some(journey) = reading.journey {
            self.settle(journey, segment, reading.began);
        }
    }

    /// One stamp of the packet itself.
    fn stamp(&mut self, reading: &mut Reading<'_>, point: Point, time: u64, arg: u8) {
        let cpu = reading.segment.cpu;
        let known = reading.journey.and_then(|r| self.slab.get(r));
        let place = place_of(reading.place, point, known);
        let sight = Sight {
            point,
            time,
            cpu,
            place,
            flow: reading.flow.as_ref().filter(|_| !reading.shown),
            late: reading.late,
        };
        let verdict = known.map_or(Verdict::NewLife, |open| judge(open, &sight));
        let older = known.is_some_and(|open| time < open.first_time());
        match verdict {
            Verdict::Trails => return,
            Verdict::NewLife => {
                // The end of a packet that was never seen is none of ours.
                if TRAILING.has(point) {
                    return;
                }
                if reading.late && (older || known.is_none() && !BEGINNINGS.has(point)) {
                    self.balance.late += u64::from(!std::mem::replace(&mut reading.stray, true));
                    reading.journey = None;
                    return;
                }
                if let Some(before) = reading.journey {
                    self.replaced(before);
                }
                let journey = self.born(reading, point);
                reading.journey = Some(journey);
                reading.began = true;
            }
            Verdict::NextLeg | Verdict::Continues => {}
        }
        let Some(journey) = reading.journey else {
            return;
        };
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        if verdict == Verdict::NextLeg {
            open.turn(Side::Receive);
        }
        if !reading.shown {
            reading.shown = true;
            if let Some(flow) = &reading.flow {
                open.see_flow(flow);
            }
        }
        reading.stamped = Some(point);
        if !open.is_open() {
            late_stamp(open, point, time, cpu, place, arg);
            return;
        }
        if OUTBOUND.has(point) && open.seen.has(Point::StartXmit) && point != Point::XmitDone
            || LOCAL_OUTPUT.has(point) && open.seen.meets(OUTBOUND)
        {
            open.tunnel = true;
        }
        // Through the protocol-independent receive path again, with an upper or a tunnel device: what was
        // passed before says nothing about this pass.
        if ARRIVAL.has(point)
            && open.side == Side::Receive
            && !open.seen.is_empty()
            && open.current_place().ifindex != place.ifindex
        {
            open.tunnel |= open.seen.meets(TRANSPORT);
            open.seen = Points::default();
        }
        for (point, time) in reading.context.drain(..) {
            let leg = open.leg;
            let stamp = Stamp {
                time,
                cpu,
                point,
                leg,
                place: 0,
                arg: 0,
            };
            // Context names no points of the packet: identity must not see it.
            let seen = open.seen;
            open.stamp(stamp, place);
            open.seen = seen;
        }
        open.own_stamp(point, time, cpu, place, arg);
        let sender = std::mem::take(&mut reading.sender);
        if sender != 0 && open.side == Side::Transmit && open.leg == 0 {
            open.sender = sender;
        }
        let leg = open.leg;
        if let Some(number) = reading.poll.take()
            && let Some(poll) = self.polls.of_packet(cpu, number, journey, leg)
        {
            self.join_poll(journey, leg, poll);
        }
        self.after(journey, point, time, cpu, arg);
    }

    /// What a stamp means for the journey as a whole.
    fn after(&mut self, journey: Ref, point: Point, time: u64, cpu: u16, arg: u8) {
        let Some(open) = self.slab.get(journey) else {
            return;
        };
        match point {
            Point::Consume => {
                let outcome = outcome::consumed(open);
                if outcome == Outcome::Consumed
                    && open.side != Side::Receive
                    && let Some(flow) = open.current_flow().copied()
                {
                    self.links.split(cpu, journey, flow);
                }
                self.end(journey, outcome, time);
            }
            Point::Drop => {
                self.end(journey, Outcome::Dropped, time);
                self.describe_drop(journey, |_| {}, time, cpu);
            }
            Point::TransportDone
                if outcome::ends_soon(open) && !open.seen.has(Point::TcpBacklog) =>
            {
                self.end(journey, Outcome::Consumed, time);
            }
            // GRO_MERGED, GRO_MERGED_FREE
            Point::GroDone if arg <= 1 => {
                let into = open.flow.and_then(|flow| self.links.merge(cpu, &flow));
                if let (Some(into), Some(open)) = (into, self.slab.get_mut(journey)) {
                    open.link(Link {
                        kind: LinkKind::MergedInto,
                        journey: into.id,
                    });
                }
                self.end(journey, Outcome::Consumed, time);
            }
            // GRO_HELD
            Point::GroDone if arg == 2 => {
                if let Some(flow) = open.flow {
                    self.links.hold(cpu, journey, flow);
                }
            }
            _ => {}
        }
    }

    /// A thread id: whose it is, the stamp before says.
    fn thread(&mut self, reading: &mut Reading<'_>, pid: u32) {
        if pid == 0 {
            return;
        }
        let Some(point) = reading.stamped else {
            // A sender whose call began before anything was traced comes before the first stamp.
            reading.sender = pid;
            return;
        };
        let Some(open) = reading.journey.and_then(|r| self.slab.get_mut(r)) else {
            return;
        };
        match point {
            _ if SENDING.has(point) => open.sender = pid,
            Point::Copy => open.receiver = pid,
            Point::Wakeup => {
                let Some(free) = open.woken.iter().position(|&w| w == 0 || w == pid) else {
                    return;
                };
                open.woken[free] = pid;
                let last = open
                    .stamps
                    .iter_mut()
                    .rev()
                    .find(|s| s.point == Point::Wakeup);
                if let Some(stamp) = last {
                    stamp.arg = u8::try_from(free).unwrap_or(u8::MAX);
                }
            }
            _ => {}
        }
    }

    /// The first stamp of a packet.
    fn born(&mut self, reading: &Reading<'_>, point: Point) -> Ref {
        if self.open >= self.limits.open_journeys.max(1)
            && let Some(oldest) = self.slab.oldest()
        {
            self.balance.evicted += 1;
            self.end_silently(oldest, Unfinished::Evicted);
        }
        let segment = reading.segment;
        let flow = reading.flow.filter(|_| !reading.shown);
        let side = match point {
            _ if SENDING.has(point) || LOCAL_OUTPUT.has(point) || OUTBOUND.has(point) => {
                Side::Transmit
            }
            Point::Forward | Point::FwdEnter | Point::FwdLeave => Side::Forward,
            _ => Side::Receive,
        };
        self.last_id += 1;
        let id = JourneyId(self.last_id);
        let mut open = Open {
            id,
            skb: segment.skb,
            head: segment.head,
            sk_out: 0,
            sk_in: 0,
            flow,
            len: segment.len,
            ether_type: segment.ether_type,
            sent_here: side == Side::Transmit,
            partial: !BEGINNINGS.has(point),
            tunnel: false,
            waits: false,
            datagram: false,
            registered: false,
            retransmitted: false,
            state: State::Open,
            heard: self.now,
            sender: 0,
            receiver: 0,
            woken: [0; 2],
            stamps: self.spare.pop().unwrap_or_default(),
            places: Vec::new(),
            extra: None,
            seen: Points::default(),
            ever: Points::default(),
            side,
            leg: 0,
            last: None,
            older: NONE,
            newer: NONE,
        };
        let whole = flow
            .filter(|_| OUTBOUND.has(point))
            .and_then(|flow| self.links.whole_of(segment.cpu, &flow));
        if let Some(whole) = whole {
            open.partial = false;
            open.link(Link {
                kind: LinkKind::SplitFrom,
                journey: whole.id,
            });
        } else {
            self.link_clone(&mut open, segment);
        }
        let head = open.head;
        let journey = self.slab.insert(open);
        self.open += 1;
        self.by_skb.insert(segment.skb, journey);
        let holder = self.links.of_head(head).and_then(|r| self.slab.get(r));
        if !holder.is_some_and(Open::is_open) {
            self.links.set_head(head, journey);
        }
        journey
    }

    /// Two sk_buffs with one `head` are clones of one another (`skb_clone`). What TCP sends are clones, too,
    /// of sk_buffs in the write queue, which nobody ever sees: a retransmission is no clone of the
    /// transmission before.
    fn link_clone(&self, open: &mut Open, segment: &Segment) {
        let other = self.links.of_head(open.head).and_then(|r| self.slab.get(r));
        let Some(other) = other.filter(|o| o.skb != open.skb) else {
            return;
        };
        if open.side == Side::Transmit && other.is_tcp() {
            return;
        }
        // Memory is used again: without the kernel's word that it is a clone, the headers decide.
        let cloned = segment.flags & flags::CLONED != 0;
        let clone = match (open.flow, other.flow) {
            (Some(a), Some(b)) if cloned => flow::may_be_same_packet(&a, &b),
            (Some(a), Some(b)) => a == b,
            _ => cloned,
        };
        if !clone {
            return;
        }
        open.link(Link {
            kind: LinkKind::CloneOf,
            journey: other.id,
        });
        if open.flow.is_none() {
            open.flow = other.flow;
        }
    }

    /// After a segment (which `began` it): what the journey is now to sockets and deadlines.
    fn settle(&mut self, journey: Ref, segment: &Segment, began: bool) {
        let now = self.now;
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        if segment.sk != 0 {
            if open.side == Side::Receive && open.seen.meets(SOCKET) {
                open.sk_in = segment.sk;
            } else if open.sent_here && (began || open.leg == 0) {
                open.sk_out = segment.sk;
            }
        }
        if open.is_tcp()
            && let (Some(first), Some(flow)) = (open.flow, open.current_flow().copied())
        {
            let netns = open.current_place().netns;
            let origin = open.places.first().map_or(0, |p| p.netns);
            if open.sk_out != 0 && !is_syn(&first) {
                self.connections.sent(origin, &first, open.sk_out);
            } else if open.sent_here
                && let Some(sk) = self.connections.sender(origin, &first)
            {
                // One segment held both ways (lo, veth): of its two sockets it names the receiver's.
                open.sk_out = sk;
            }
            if open.sk_in != 0 {
                // sk_data_ready of a segment that only opens the connection is the listener's.
                if !open.is_bare_tcp() || open.seen.has(Point::TcpSocket) {
                    self.connections.received(netns, &flow, open.sk_in);
                }
            } else if open.passed_transport()
                && let Some(sk) = self.connections.receiver(netns, &flow)
            {
                open.sk_in = sk;
            }
        }
        if !open.is_tcp()
            && open.passed_transport()
            && let Some(flow) = open.current_flow().copied().filter(flow::is_udp)
        {
            let netns = open.current_place().netns;
            if open.sk_in == 0 {
                let known = self.connections.datagram_receiver(netns, &flow);
                open.sk_in = known.unwrap_or(0);
            } else if open.seen.has(Point::Queued) && flow::is_unicast(&flow) {
                self.connections.datagram(netns, &flow, open.sk_in);
            }
        }
        if !open.is_open() {
            self.register(journey);
            return;
        }
        if open.is_tcp_data()
            && !open.waits
            && open.sk_in != 0
            && open.passed_transport()
            && let (Some((seq, _)), Some(payload)) = (open.tcp_range(), open.tcp_payload())
        {
            open.waits = true;
            let sk = open.sk_in;
            self.sockets.wait(sk, seq, payload, journey);
        }
        if !self.slab.get(journey).is_some_and(Open::is_tcp)
            && let Some(open) = self.slab.get_mut(journey)
            && !open.datagram
            && open.side == Side::Receive
            && open.sk_in != 0
            && open.passed_transport()
        {
            open.datagram = true;
            let sk = open.sk_in;
            self.sockets.queue_datagram(sk, journey);
        }
        if self.slab.get(journey).is_some_and(outcome::ends_soon) {
            self.quiet
                .push_back((now.saturating_add(CONSUME_NS), journey));
        }
        self.slab.touch(journey, now);
        self.register(journey);
    }

    /// TCP sent something: were these bytes sent before, and by which `send()`?
    fn register(&mut self, journey: Ref) {
        let now = self.now;
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let split = open
            .extra
            .as_ref()
            .is_some_and(|e| e.links.iter().any(|l| l.kind == LinkKind::SplitFrom));
        if open.registered || open.sk_out == 0 || split {
            return;
        }
        let Some((seq, len)) = open.tcp_range().filter(|r| r.1 > 0) else {
            return;
        };
        open.registered = true;
        let sk = open.sk_out;
        let data = open.is_tcp_data();
        let earlier = self.sockets.transmit(sk, seq, len, now, journey);
        match earlier {
            Some(earlier) => {
                open.retransmitted = true;
                open.link(Link {
                    kind: LinkKind::RetransmitOf,
                    journey: earlier.id,
                });
            }
            None if data => {
                if let Some(sending) = self.sockets.sending(sk, seq) {
                    add_sending(open, sending, self.probed);
                }
            }
            None => {}
        }
    }

    /// Its address belongs to another packet now.
    fn replaced(&mut self, journey: Ref) {
        let Some(open) = self.slab.get(journey) else {
            return;
        };
        // tcp_try_coalesce frees the sk_buff and keeps the bytes, which are still to be read.
        if !open.is_open() || open.waits {
            return;
        }
        self.end_silently(journey, Unfinished::AddressReused);
    }

    /// Ends a journey whose end was not seen.
    fn end_silently(&mut self, journey: Ref, why: Unfinished) {
        let Some(open) = self.slab.get(journey).filter(|o| o.is_open()) else {
            return;
        };
        let lost = self.lost_at.is_some_and(|at| at >= open.first_time());
        let why = match why {
            Unfinished::Aged | Unfinished::AddressReused if lost => Unfinished::RecordLost,
            why => why,
        };
        let outcome = outcome::silent(open, why);
        let time = open.last_time();
        self.end(journey, outcome, time);
    }

    fn end(&mut self, journey: Ref, outcome: Outcome, time: u64) {
        let Some(open) = self.slab.get_mut(journey).filter(|o| o.is_open()) else {
            return;
        };
        open.end(outcome, time);
        if open.waits {
            let sk = open.sk_in;
            self.sockets.forget(sk, journey);
        }
        self.slab.retire(journey);
        self.open -= 1;
        self.lingering
            .push_back((self.now.saturating_add(self.limits.linger_ns), journey));
        if self.lingering.len() > self.limits.open_journeys.max(1024)
            && let Some((_, first)) = self.lingering.pop_front()
        {
            self.give_out(first);
        }
    }

    /// A drop's record.
    fn dropped(&mut self, record: &DropRecord) {
        let known = self.by_skb.get(&record.skb).copied();
        // Records of drops come whether the packet passed the filter or not.
        let Some((journey, state)) = known.and_then(|r| Some((r, self.slab.get(r)?.state))) else {
            return;
        };
        match state {
            State::Open => {
                // Its segment was lost.
                if let Some(open) = self.slab.get_mut(journey) {
                    let place = open.current_place();
                    open.own_stamp(Point::Drop, record.time, record.cpu, place, 0);
                }
                self.end(journey, Outcome::Dropped, record.time);
            }
            State::Ended {
                outcome: Outcome::Dropped,
                time,
            } if time.abs_diff(record.time) <= DROP_NS => {}
            State::Ended { .. } => return,
        }
        let queue_purge = self.queue_purge;
        let fill = |drop: &mut Drop| {
            drop.reason = record.reason;
            drop.location = record.location;
            drop.stack.clone_from(&record.stack);
        };
        self.describe_drop(journey, fill, record.time, record.cpu);
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let purged = queue_purge.and_then(|purge| Some(record.reason? == purge));
        let outcome = outcome::dropped(open, record.shared, purged);
        if outcome != Outcome::Dropped {
            open.extra().drop = None;
            if let State::Ended { time, .. } = open.state {
                open.end(outcome, time);
            }
        }
    }

    fn describe_drop(&mut self, journey: Ref, fill: impl FnOnce(&mut Drop), time: u64, cpu: u16) {
        let probed = self.probed;
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let stage = stages::stage_at_end(open, probed);
        let drop = open.extra().drop.get_or_insert(Drop {
            reason: None,
            location: 0,
            stage,
            stack: Vec::new(),
            time,
            cpu,
        });
        fill(drop);
    }

    fn socket(&mut self, record: &SocketRecord) {
        match record.op {
            SocketOp::Send => {
                let sending = Sending {
                    start: record.start,
                    end: record.end,
                    pid: record.pid,
                    cpu: record.cpu,
                };
                let at = self.now;
                for journey in self
                    .sockets
                    .send(record.sk, record.seq, record.len, at, sending)
                {
                    if let Some(open) = self.slab.get_mut(journey) {
                        add_sending(open, sending, self.probed);
                    }
                }
            }
            SocketOp::Receive => {
                for read in self.sockets.read(record.sk, record.seq, record.len) {
                    self.read(read.journey, read.whole, record);
                }
            }
            SocketOp::ReceiveEnd => {
                let Some(end) = record.end else { return };
                for journey in self.sockets.returned(record.sk, record.pid) {
                    if let Some(open) = self.slab.get_mut(journey) {
                        returned(open, end, record.cpu);
                    }
                }
            }
            SocketOp::Datagram => {
                let Some(end) = record.end else { return };
                let slab = &self.slab;
                let fits = |r| {
                    let Some(open) = slab.get(r) else {
                        return Fit::Gone;
                    };
                    match open.outcome() {
                        None | Some(Outcome::Delivered) if open.receiver_free() => {}
                        _ => return Fit::Gone,
                    }
                    // Copied with a stamp: then it is known who read it.
                    if open.seen.has(Point::Copy) {
                        let same = open.receiver == record.pid;
                        return if same { Fit::This } else { Fit::NotYet };
                    }
                    // A reader on another CPU can be faster than sk_data_ready, so what counts is the
                    // transport's first stamp.
                    match open.reached_transport() {
                        Some(time) if time <= end => Fit::This,
                        _ => Fit::NotYet,
                    }
                };
                if let Some(journey) = self.sockets.read_datagram(record.sk, fits) {
                    self.read_datagram(journey, end, record);
                }
            }
            SocketOp::Retransmit => {
                let last = self.sockets.transmitted(record.sk, record.seq);
                if let Some(open) = last.and_then(|r| self.slab.get_mut(r)) {
                    open.retransmitted = true;
                }
            }
        }
    }

    /// `recv()` copied bytes of a journey; all that were left, if `whole`.
    fn read(&mut self, journey: Ref, whole: bool, record: &SocketRecord) {
        let now = self.now;
        let Some(open) = self.slab.get_mut(journey).filter(|o| o.is_open()) else {
            return;
        };
        open.receiver = record.pid;
        let queued = open.at_socket().unwrap_or(0);
        if !open.seen.has(Point::Copy) {
            let place = open.current_place();
            // One record can cover many sk_buffs: its beginning may lie before this one was there.
            let start = record.start.max(queued);
            open.own_stamp(Point::Copy, start, record.cpu, place, 0);
        }
        if !whole {
            self.slab.touch(journey, now);
            return;
        }
        open.waits = false;
        let start = open.last.map_or(queued, |l| l.1);
        self.end(journey, Outcome::Delivered, start);
        match record.end {
            Some(end) => {
                if let Some(open) = self.slab.get_mut(journey) {
                    returned(open, end.max(start), record.cpu);
                }
            }
            None => self.sockets.return_later(record.sk, record.pid, journey),
        }
    }

    /// `recv()` returned with a datagram. Small ones are copied without a tracepoint (`copy_linear_skb`):
    /// then this is all that tells who read it.
    fn read_datagram(&mut self, journey: Ref, end: u64, record: &SocketRecord) {
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        open.receiver = record.pid;
        let copied = open.seen.has(Point::Copy);
        match open.state {
            State::Ended { .. } if copied => {}
            State::Ended { .. } => returned(open, end, record.cpu),
            State::Open => {
                let place = open.current_place();
                open.own_stamp(Point::RecvDone, end, record.cpu, place, 0);
                self.end(journey, Outcome::Delivered, end);
            }
        }
    }

    fn poll(&mut self, record: &PollRecord) {
        for (journey, leg) in self.polls.learn(record) {
            self.join_poll(journey, leg, super::polls::poll(record));
        }
    }

    fn join_poll(&mut self, journey: Ref, leg: u8, poll: super::model::Poll) {
        if let Some(open) = self.slab.get_mut(journey)
            && open
                .extra
                .as_ref()
                .is_none_or(|e| e.polls.iter().all(|p| p.0 != leg))
        {
            open.extra().polls.push((leg, poll));
        }
    }

    /// Builds a finished journey and hands it to the caller.
    fn give_out(&mut self, journey: Ref) {
        let Some(open) = self.slab.remove(journey) else {
            return;
        };
        if self.by_skb.get(&open.skb) == Some(&journey) {
            self.by_skb.remove(&open.skb);
        }
        self.links.forget_head(open.head, journey);
        let (journey, lost) = self.build(&open);
        let mut stamps = open.stamps;
        if self.spare.len() < SPARE {
            stamps.clear();
            self.spare.push(stamps);
        }
        self.balance.count(&journey, lost);
        self.out.push_back(journey);
    }

    /// The journey, and whether a part in its middle was lost.
    fn build(&self, open: &Open) -> (Journey, bool) {
        let outcome = open
            .outcome()
            .unwrap_or(Outcome::Unfinished(Unfinished::TraceEnded));
        let timeline = stages::timeline(open, outcome, self.probed);
        let extra = open.extra.as_deref().cloned().unwrap_or_default();
        let polls = extra.polls.into_iter().filter_map(|(leg, mut poll)| {
            poll.leg = timeline.leg_index.iter().find(|l| l.0 == leg)?.1;
            Some(poll)
        });
        let journey = Journey {
            id: open.id,
            direction: stages::direction(&timeline.legs),
            outcome,
            flow: open.flow,
            rewrites: extra.rewrites,
            len: open.len,
            ether_type: open.ether_type,
            start: timeline.start,
            total: timeline.total,
            stages: timeline.stages,
            drop: extra.drop,
            sender: self.names.process(open.sender),
            receiver: self.names.process(open.receiver),
            polls: polls.collect(),
            links: extra.links,
            partial: open.partial,
            legs: timeline.legs,
        };
        (journey, timeline.lost)
    }
}

/// A segment that opens a connection: the answer to it is sent by the listener.
fn is_syn(flow: &Flow) -> bool {
    flow.tcp.is_some_and(|tcp| tcp.flags & 2 != 0)
}

/// When the packet itself was first seen in a segment: its place in the order. The stamps of the CPU's and
/// the thread's context before it may be older than the packet, and than its parts from other CPUs.
fn own_time(segment: &Segment) -> u64 {
    let own = segment.items().find_map(|item| match item {
        Item::Stamp { hook, time, .. } => {
            let context = matches!(
                hook,
                Hook::Interrupt
                    | Hook::NapiSchedule
                    | Hook::Softirq
                    | Hook::Poll
                    | Hook::Send
                    | Hook::SocketWrite
                    | Hook::TcpTransmit
            );
            (!context).then_some(time)
        }
        _ => None,
    });
    own.unwrap_or(segment.t0)
}

/// When a packet ended that was at its transport protocol before, in one segment. The socket had it in
/// between, other CPUs and `recv()` may have dealt with it, and their records belong before its end: the slot
/// waits for it for as long as no other packet needs it, and a packet that was read is freed on the CPU
/// that allocated it (`skb_attempt_defer_free` → `skb_defer_free_flush`).
fn end_after_transport(segment: &Segment) -> Option<u64> {
    // The end is the very last entry.
    let Some(Item::Stamp { hook, .. }) = segment.items().last() else {
        return None;
    };
    if !matches!(hook, Hook::Consume | Hook::Drop) {
        return None;
    }
    let stamps = segment.items().filter_map(|item| match item {
        Item::Stamp { hook, time, a, b } => Some((Point::of(hook, a, b), time)),
        _ => None,
    });
    let (mut before, mut last) = (None, None);
    for stamp in stamps {
        before = last.replace(stamp);
    }
    let (_, time) = last?;
    let point = before?.0?;
    (TRANSPORT.has(point) && point != Point::Copy).then_some(time)
}

/// Where a stamp was taken. `skb->dev` says it, but not always: a stamp taken alone
/// ([`flags::NESTED`]) carries no place, and once a socket has the packet the field is used for something
/// else (`udp_set_dev_scratch`). Then it is where it was last seen.
fn place_of(said: Place, point: Point, known: Option<&Open>) -> Place {
    let Some(known) = known.filter(|o| o.is_open() && !o.stamps.is_empty()) else {
        return said;
    };
    let at_socket = TRANSPORT.has(point) && !matches!(point, Point::InLeave | Point::Transport);
    let ends = matches!(point, Point::Consume | Point::Drop);
    let before = known.current_place();
    if said.netns == 0 || (at_socket || ends) && known.side == Side::Receive && before.netns != 0 {
        before
    } else {
        said
    }
}

/// A stamp that comes when its journey has ended: into the leg it falls into by time.
fn late_stamp(open: &mut Open, point: Point, time: u64, cpu: u16, place: Place, arg: u8) {
    let before = open.stamps.iter().filter(|s| s.time <= time);
    let leg = before.map(|s| s.leg).max().unwrap_or(0);
    let stamp = Stamp {
        time,
        cpu,
        point,
        leg,
        place: 0,
        arg,
    };
    open.stamp(stamp, place);
}

/// The `send()` that wrote a TCP segment's bytes, for one that was sent later (by an ACK, by the pacing
/// timer): it was called, all was copied when it returned, and the segment left from the write queue.
///
/// One that was sent inside `send()` carries these stamps itself.
fn add_sending(open: &mut Open, sending: Sending, probed: Probed) {
    let first = open.first_time();
    let inside = open.ever.has(Point::Send) || open.ever.has(Point::SocketWrite);
    if open.retransmitted || inside || sending.start > first {
        return;
    }
    open.sender = sending.pid;
    // Where send() itself is not probed its time is that of the copying, which the segment has.
    if open.ever.has(Point::SocketWrite) {
        return;
    }
    let place = open.places.first().copied().unwrap_or_default();
    let mut add = |point, time| {
        let stamp = Stamp {
            time,
            cpu: sending.cpu,
            point,
            leg: 0,
            place: 0,
            arg: 0,
        };
        open.stamp(stamp, place);
    };
    if !probed.has(Hook::Send) {
        // then it is the time of the first copy
        add(Point::SocketWrite, sending.start);
        return;
    }
    add(Point::Send, sending.start);
    if let Some(end) = sending
        .end
        .filter(|&end| end <= first && end >= sending.start)
    {
        add(Point::SocketWrite, end);
    }
}

/// The `recv()` that read the journey returned.
fn returned(open: &mut Open, end: u64, cpu: u16) {
    let State::Ended { outcome, time } = open.state else {
        return;
    };
    if end < time {
        return;
    }
    let leg = open.leg;
    let place = open.current_place();
    let stamp = Stamp {
        time: end,
        cpu,
        point: Point::RecvDone,
        leg,
        place: 0,
        arg: 0,
    };
    open.stamp(stamp, place);
    open.end(outcome, end);
}

#[cfg(test)]
mod tests;
