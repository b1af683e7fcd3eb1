//! Segments: each stamp is judged, and goes to the journey it belongs to, or begins one.

use super::Assembler;
use crate::decode::{Item, PollRecord, Segment, Tags};
use crate::journey::flow;
use crate::journey::identity::{self, Sight, Verdict, judge};
use crate::journey::links;
use crate::journey::model::{Flow, JourneyId, Link, LinkKind, Outcome, Unfinished};
use crate::journey::open::{Open, Side, Stamp};
use crate::journey::outcome;
use crate::journey::places::Place;
use crate::journey::point::{
    ARRIVAL, BEGINNINGS, CONTEXT, CUT, IN_HAND, LOCAL_OUTPUT, OUTBOUND, Point, Points, SENDING,
    TRAILING, TRANSPORT,
};
use crate::journey::slab::Ref;
use trace_ebpf::{Hook, PollEvent, flags};

/// Stamps that most journeys get after their first segment: read, and freed or returned.
const END: usize = 2;
/// Stamps that mean something for the journey as a whole: [`Assembler::after`].
const MEANS_MORE: Points = Points::of(&[
    Point::Consume,
    Point::Drop,
    Point::TransportDone,
    Point::GroDone,
]);

/// A segment that is being read.
pub(super) struct Reading<'a> {
    segment: &'a Segment<'a>,
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
    /// Identity has seen the headers, if there are any.
    shown: bool,
    /// It came after its time.
    late: bool,
    /// … and its journey is gone.
    stray: bool,
}

impl Assembler {
    /// The journey that has this sk_buff's address, or had it last; it is awake.
    pub(super) fn of_skb(&mut self, skb: u64) -> Option<Ref> {
        let journey = self.slab.of_skb(skb)?;
        self.slab.get_mut(journey)?;
        Some(journey)
    }

    pub(super) fn segment(&mut self, segment: &Segment<'_>, late: bool) {
        let flow = flow_of(segment).filter(|_| segment.flags & flags::UNREADABLE == 0);
        let mut reading = Reading {
            segment,
            shown: flow.is_none(),
            flow,
            place: Place {
                netns: segment.netns,
                ifindex: segment.ifindex,
            },
            journey: self.of_skb(segment.skb),
            stamped: None,
            context: std::mem::take(&mut self.context),
            poll: None,
            sender: 0,
            began: false,
            late,
            stray: false,
        };
        let nothing = PollRecord {
            cpu: segment.cpu,
            ..PollRecord::default()
        };
        // the poll that the entries tell of; its number comes last
        let mut told = nothing;
        let mut items = segment.items();
        loop {
            self.go_on(&mut reading, &mut items);
            let Some(item) = items.next() else { break };
            match item {
                Item::Device(ifindex) => reading.place.ifindex = ifindex,
                Item::Netns(netns) => reading.place.netns = netns,
                Item::Poll(number) => {
                    reading.poll = Some(number);
                    told.number = number;
                }
                Item::PollEnd { time, work, budget } => {
                    told.end = time;
                    told.work = u32::from(work);
                    told.budget = u32::from(budget);
                    self.poll(&told);
                }
                Item::Pid(pid) => self.thread(&mut reading, pid),
                Item::Returned(end) => {
                    if let Some(journey) = reading.journey {
                        self.reader_returned(journey, end, segment.cpu);
                    }
                }
                Item::Call => {}
                Item::Stamp { hook, time, a, b } => {
                    reading.stamped = None;
                    let Some(point) = Point::of(hook, a, b) else {
                        continue;
                    };
                    if reading.stray {
                        continue;
                    }
                    if point.is_poll_context() {
                        if told.number != 0 {
                            told = nothing;
                        }
                        match point {
                            Point::Interrupt => {
                                told.irq = (b != PollEvent::NO_INTERRUPT).then_some(b);
                            }
                            Point::Softirq => told.softirq = Some(time),
                            Point::Poll => told.start = time,
                            _ => {}
                        }
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
        reading.context.clear();
        self.context = reading.context;
    }

    /// Takes the stamps that come next as long as they need no decision, which is most of them.
    fn go_on(
        &mut self,
        reading: &mut Reading<'_>,
        items: &mut (impl Iterator<Item = Item> + Clone),
    ) {
        let plain = reading.shown
            && reading.context.is_empty()
            && reading.poll.is_none()
            && reading.sender == 0;
        let Some(journey) = reading.journey.filter(|_| plain) else {
            return;
        };
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let (place, cpu) = (reading.place, reading.segment.cpu);
        let mut way = identity::ahead(open, place);
        let mut ahead = items.clone();
        while let Some(Item::Stamp { hook, time, a, b }) = ahead.next()
            && let Some(point) = Point::of(hook, a, b)
            && way.has(point)
        {
            way = way.after(point);
            debug_assert_eq!(place_of(place, point, Some(open)), place);
            debug_assert_eq!(
                judge(
                    open,
                    &Sight {
                        point,
                        time,
                        cpu,
                        place,
                        flow: None,
                        head: reading.segment.head,
                        late: reading.late,
                    }
                ),
                Verdict::Continues
            );
            open.next_stamp(point, time, cpu, a);
            reading.stamped = Some(point);
            *items = ahead.clone();
            if MEANS_MORE.has(point) {
                self.after(journey, point, time, cpu, a);
                return;
            }
        }
    }

    /// One stamp of the packet itself.
    pub(super) fn stamp(&mut self, reading: &mut Reading<'_>, point: Point, time: u64, arg: u8) {
        let cpu = reading.segment.cpu;
        let known = reading.journey.and_then(|r| self.slab.get(r));
        let place = place_of(reading.place, point, known);
        let sight = Sight {
            point,
            time,
            cpu,
            place,
            flow: reading.flow.as_ref().filter(|_| !reading.shown),
            head: reading.segment.head,
            late: reading.late,
        };
        let verdict = known.map_or(Verdict::NewLife, |open| judge(open, &sight));
        match verdict {
            Verdict::Trails => return,
            Verdict::NewLife => {
                // The end of a packet that was never seen is none of ours.
                if TRAILING.has(point) {
                    return;
                }
                let stray = || match known {
                    Some(open) => time < open.first_time(),
                    None => !BEGINNINGS.has(point),
                };
                if reading.late && stray() {
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
        if MEANS_MORE.has(point) {
            self.after(journey, point, time, cpu, arg);
        }
    }

    /// What a stamp means for the journey as a whole.
    pub(super) fn after(&mut self, journey: Ref, point: Point, time: u64, cpu: u16, arg: u8) {
        let Some(open) = self.slab.get(journey) else {
            return;
        };
        match point {
            Point::Consume => {
                let outcome = outcome::consumed(open, self.probed);
                if outcome == Outcome::Consumed
                    && open.side != Side::Receive
                    && let Some(flow) = open.current_flow().copied()
                {
                    self.links.split(cpu, open.id, flow);
                }
                self.end(journey, outcome, time);
            }
            Point::Drop => {
                self.end(journey, Outcome::Dropped, time);
                self.describe_drop(journey, |_| {}, time, cpu);
            }
            Point::TransportDone if outcome::ends_soon(open) => {
                self.end(journey, Outcome::Consumed, time);
            }
            // GRO_MERGED, GRO_MERGED_FREE
            Point::GroDone if arg <= 1 => {
                let into = open.flow.and_then(|flow| self.links.merge(cpu, &flow));
                if let (Some(into), Some(open)) = (into, self.slab.get_mut(journey)) {
                    open.link(Link {
                        kind: LinkKind::MergedInto,
                        journey: into,
                    });
                }
                self.end(journey, Outcome::Consumed, time);
            }
            // GRO_HELD
            Point::GroDone if arg == 2 => {
                if let Some(flow) = open.flow {
                    self.links.hold(cpu, open.id, flow);
                }
            }
            _ => {}
        }
    }

    /// A thread id: whose it is, the stamp before says.
    pub(super) fn thread(&mut self, reading: &mut Reading<'_>, pid: u32) {
        if pid == 0 {
            return;
        }
        let Some(point) = reading.stamped else {
            // A sender whose call began before anything was traced comes before the first stamp.
            reading.sender = pid;
            return;
        };
        let Some(journey) = reading.journey else {
            return;
        };
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        match point {
            _ if SENDING.has(point) => open.sender = pid,
            Point::Copy => {
                open.receiver = pid;
                let copied = match open.last {
                    Some((Point::Copy, time, _)) if open.is_open() => Some(time),
                    _ => open.last_time_of(Point::Copy),
                };
                // Headers that a driver left in a page may never have been read.
                let datagram = open.current_flow().is_none_or(flow::is_udp);
                if let (Some(time), true) = (copied, datagram) {
                    self.sockets.copied(pid, time, journey);
                }
            }
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
    pub(super) fn born(&mut self, reading: &Reading<'_>, point: Point) -> Ref {
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
        let stamps = self.slab.spare().unwrap_or_else(|| {
            let is_stamp = |item: &Item| matches!(item, Item::Stamp { .. });
            Vec::with_capacity(segment.items().filter(is_stamp).count() + END)
        });
        let mut open = Open {
            head: segment.head,
            flow,
            len: segment.len,
            ether_type: segment.ether_type,
            partial: !BEGINNINGS.has(point),
            ..Open::new(id, side, stamps)
        };
        let shared = segment.flags & flags::CLONED != 0;
        let mark = links::mark(flow.as_ref());
        let holder = self.slab.of_head(segment.head, mark, shared);
        let same_skb = holder.is_some_and(|at| self.slab.skb(at) == Some(segment.skb));
        let holder = holder.and_then(|at| self.slab.get_mut(at).map(|open| &*open));
        let whole = flow
            .filter(|_| OUTBOUND.has(point))
            .and_then(|flow| self.links.whole_of(segment.cpu, &flow));
        if let Some(whole) = whole {
            open.partial = false;
            open.link(Link {
                kind: LinkKind::SplitFrom,
                journey: whole,
            });
        } else if let Some(holder) = holder.filter(|_| !same_skb) {
            link_clone(&mut open, holder, shared);
        }
        let held = holder.is_some_and(Open::is_open);
        let journey = self.slab.insert(open, segment.skb, mark, self.now);
        self.open += 1;
        if !held {
            self.slab.hold_head(journey);
        }
        journey
    }
}

/// Two sk_buffs with one `head` are clones of one another (`skb_clone`). What TCP sends are clones, too,
/// of sk_buffs in the write queue, which nobody ever sees: a retransmission is no clone of the
/// transmission before.
///
/// Memory is used again: without the kernel's word that it is a clone, the headers decide.
fn link_clone(open: &mut Open, other: &Open, cloned: bool) {
    if open.side == Side::Transmit && other.is_tcp() {
        return;
    }
    let clone = match (&open.flow, &other.flow) {
        (Some(a), Some(b)) if cloned => flow::may_be_same_packet(a, b),
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

/// When the packet itself was first seen in a segment: its place in the order. The stamps of the CPU's and
/// the thread's context before it may be older than the packet, and than its parts from other CPUs; of those the last
/// is the nearest to it.
pub(super) fn own_time(segment: &Segment<'_>) -> u64 {
    let mut last = segment.t0;
    for item in segment.items() {
        if let Item::Stamp { hook, time, a, b } = item {
            if Point::of(hook, a, b).is_none_or(|p| !CONTEXT.has(p)) {
                return time;
            }
            last = time;
        }
    }
    last
}

/// The last entry at which a packet came back to this CPU, to be read or to end. What other CPUs did to it in between belongs
/// before that: it waited for its reader, or its thread was moved. It may even be another packet, at the address of the one
/// that the slot still waited for: one that was read elsewhere, and freed on the CPU that allocated it
/// (`skb_attempt_defer_free`).
pub(super) fn comes_back(segment: &Segment<'_>) -> Option<usize> {
    const COMES_BACK: [Hook; 3] = [Hook::Copy, Hook::Consume, Hook::Drop];
    const TAGS: Tags = Tags::of(&COMES_BACK);
    if !segment.tags.meets(TAGS) {
        return None;
    }
    let (mut back, mut before) = (None, None);
    for (at, item) in segment.items().enumerate() {
        let Item::Stamp { hook, a, b, .. } = item else {
            continue;
        };
        if COMES_BACK.contains(&hook)
            && before.is_some_and(|p| !IN_HAND.has(p) || CUT.has(p) && is_tcp(segment))
        {
            back = Some(at);
        }
        before = Point::of(hook, a, b).or(before);
    }
    back
}

/// TCP's segments are not cut into fragments.
fn is_tcp(segment: &Segment<'_>) -> bool {
    flow_of(segment).is_some_and(|flow| flow::is_tcp(&flow))
}

/// What its headers say.
pub(super) fn flow_of(segment: &Segment<'_>) -> Option<Flow> {
    flow::parse(&segment.headers()?, segment.ether_type, segment.len)
}

/// Where a stamp was taken. `skb->dev` says it, but not always: a stamp taken alone
/// ([`flags::NESTED`]) carries no place, and once a socket has the packet the field is used for something
/// else (`udp_set_dev_scratch`). Then it is where it was last seen.
pub(super) fn place_of(said: Place, point: Point, known: Option<&Open>) -> Place {
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
pub(super) fn late_stamp(
    open: &mut Open,
    point: Point,
    time: u64,
    cpu: u16,
    place: Place,
    arg: u8,
) {
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
