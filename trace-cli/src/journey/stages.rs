//! Stamps → legs and stages.
//!
//! The span between two consecutive stamps has the name of what the earlier one begins, corrected by
//! the later one where that is not what happened. It is *measured* when it is what its name says, and
//! a *gap* when it swallowed a hook that this packet must have passed and nobody stamped. Spans follow
//! one another without holes and their ends never run backwards, so the stages sum to the total by
//! construction.

use trace_ebpf::Hook;

use super::gap::{is_gap, is_loss};
use super::model::{Direction, Leg, Outcome, Stage, StageState};
use super::open::{Open, Stamp};
use super::point::{ARRIVAL, AT_SOCKET, INBOUND, LOCAL_OUTPUT, OUTBOUND, Point, Points, SENDING};
use super::probed::Probed;
use super::stage::StageName;
use super::ways::{Course, Way, Ways};

/// Timelines' memory that is kept.
const SPARE: usize = 4096;

/// A journey's timeline.
#[derive(Debug)]
pub(super) struct Timeline {
    pub legs: Vec<Leg>,
    pub stages: Vec<Stage>,
    pub start: u64,
    pub total: u64,
    /// A part in the middle was lost.
    pub lost: bool,
}

/// Builds timelines, in memory that is used again.
#[derive(Debug)]
pub(super) struct Builder {
    probed: Probed,
    ways: Ways,
    /// Of the journey at hand: its stamps in order, and those of them that count.
    ordered: Vec<Stamp>,
    chosen: Vec<Stamp>,
    /// The numbers that its legs have in stamps.
    leg_numbers: Vec<u8>,
    spare: Vec<(Vec<Leg>, Vec<Stage>)>,
}

impl Builder {
    /// Of packets on a kernel that shows these hooks.
    pub(super) fn new(probed: Probed) -> Self {
        Self {
            probed,
            ways: Ways::default(),
            ordered: Vec::new(),
            chosen: Vec::new(),
            leg_numbers: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Builds the timeline of `open`, which ended with `outcome`.
    pub(super) fn timeline(&mut self, open: &Open, outcome: Outcome) -> Timeline {
        let (mut legs, mut stages) = self.spare.pop().unwrap_or_default();
        let (mut course, mut all) = (Course::of(open, &open.stamps), open.stamps.as_slice());
        if course.is_none() {
            self.order(open);
            (course, all) = (Course::of(open, &self.ordered), &self.ordered);
        }
        let (chosen, probed) = (&mut self.chosen, self.probed);
        let lost = if let Some(course) = course {
            let way = self.ways.of(course, || find_way(open, all, probed));
            way.apply(all, chosen, &mut stages);
            debug_assert!(is_what_it_makes(open, all, probed, chosen, &stages));
            way.lost
        } else {
            work_out(open, all, probed, chosen, &mut stages)
        };
        let stamps = &self.chosen;
        find_legs(open, stamps, outcome, &mut legs, &mut self.leg_numbers);
        let start = stamps.first().map_or(0, |s| s.time);
        let total = stamps.last().map_or(0, |s| s.time) - start;
        debug_assert_eq!(stages.iter().map(|s| s.ns).sum::<u64>(), total);
        Timeline {
            legs,
            stages,
            start,
            total,
            lost,
        }
    }

    /// Index of a leg of the last timeline, by its number in stamps.
    pub(super) fn leg(&self, number: u8) -> Option<u16> {
        let leg = self.leg_numbers.iter().position(|&n| n == number)?;
        u16::try_from(leg).ok()
    }

    /// The stage that a packet was in at its end: what its last stamp before opened.
    pub(super) fn stage_at_end(&mut self, open: &Open) -> StageName {
        self.order(open);
        choose(open, &self.ordered, &mut self.chosen);
        let stamps = &self.chosen;
        let end = stamps
            .iter()
            .rposition(|s| matches!(s.point, Point::Drop | Point::Consume))
            .unwrap_or(stamps.len());
        match (
            end.checked_sub(1).and_then(|i| stamps.get(i)),
            stamps.get(end),
        ) {
            (Some(before), Some(last)) => name(open, stamps, before, last, self.probed),
            // Seen for the first time when it was dropped.
            _ => StageName::Receive,
        }
    }

    /// A timeline's memory, for the next one.
    pub(super) fn give_back(&mut self, mut legs: Vec<Leg>, mut stages: Vec<Stage>) {
        if self.spare.len() < SPARE {
            legs.clear();
            stages.clear();
            self.spare.push((legs, stages));
        }
    }

    /// All stamps but those after its end, in order of legs and time.
    fn order(&mut self, open: &Open) {
        let end = open.end_time();
        let all = &mut self.ordered;
        all.clear();
        all.extend(open.stamps.iter().filter(|s| s.time <= end));
        // Out of order is what threads and other CPUs had known before.
        all.sort_by_key(|s| (s.leg, s.time));
        // Nothing before its end.
        if all.is_empty() {
            all.extend(open.stamps.first());
        }
    }
}

/// What journeys with stamps in this order have in common.
fn find_way(open: &Open, all: &[Stamp], probed: Probed) -> Way {
    let mut numbered = all.to_vec();
    for (stamp, number) in numbered.iter_mut().zip(0..) {
        stamp.time = number;
    }
    let (mut kept, mut stages) = (Vec::new(), Vec::new());
    let lost = work_out(open, &numbered, probed, &mut kept, &mut stages);
    Way::new(&kept, stages, lost)
}

/// Whether these are what the journey makes by itself.
fn is_what_it_makes(
    open: &Open,
    all: &[Stamp],
    probed: Probed,
    chosen: &[Stamp],
    stages: &[Stage],
) -> bool {
    let (mut own, mut spans) = (Vec::new(), Vec::new());
    work_out(open, all, probed, &mut own, &mut spans);
    own == chosen && spans == stages
}

/// The stamps that count, and the stages; whether a stamp between them was lost.
fn work_out(
    open: &Open,
    all: &[Stamp],
    probed: Probed,
    chosen: &mut Vec<Stamp>,
    stages: &mut Vec<Stage>,
) -> bool {
    choose(open, all, chosen);
    find_stages(open, chosen, probed, stages)
}

/// The stamps that count, in order of legs and time; times never run backwards.
fn choose(open: &Open, all: &[Stamp], out: &mut Vec<Stamp>) {
    out.clear();
    for leg in all.chunk_by(|a, b| a.leg == b.leg) {
        let own = |s: &&Stamp| !s.point.is_poll_context();
        let first = leg.iter().find(own).map_or(u64::MAX, |s| s.time);
        // What the CPU before still stamped when the packet was already here.
        while out.len() > 1 && out.last().is_some_and(|s| s.time > first) {
            out.pop();
        }
        let handed_over = leg
            .iter()
            .find(own)
            .is_some_and(|s| s.point == Point::Backlog);
        // veth_xmit and loopback_xmit return after they passed the packet on: only where it then waits
        // for a poll without netif_rx (veth with NAPI) does the return say something.
        while handed_over && out.last().is_some_and(|s| s.point == Point::XmitDone) {
            out.pop();
        }
        choose_in_leg(open, leg, out);
    }
    // Seen once, by a stamp that opens no stage.
    if out.is_empty() {
        out.extend(all.first());
    }
    let mut floor = 0;
    for stamp in out {
        stamp.time = stamp.time.max(floor);
        floor = stamp.time;
    }
}

/// Leaves out stamps of one leg that would name a span wrongly.
fn choose_in_leg(open: &Open, leg: &[Stamp], out: &mut Vec<Stamp>) {
    let begun = out.last().map(|s| s.time);
    let bare = open.is_bare_tcp();
    // netif_rx was called before any poll of the backlog that matters: what the CPU did before then
    // has nothing to do with the packet.
    let first = leg.iter().find(|s| !s.point.is_poll_context());
    let handed_over = first.is_some_and(|s| s.point == Point::Backlog);
    // The chain of interrupt, schedule, softirq and poll: a softirq that already ran when the interrupt
    // came, or when the packet was put on the backlog, is not what the packet waited for.
    let mut context = begun;
    let mut passed = Points::default();
    let mut context_rank = None;
    for (i, stamp) in leg.iter().enumerate() {
        let point = stamp.point;
        let later = leg.get(i + 1..).unwrap_or(&[]);
        let keep = match point {
            _ if point.is_poll_context() => {
                let earlier_link_follows = later
                    .iter()
                    .take_while(|s| s.point.is_poll_context())
                    .any(|s| s.point < point);
                let in_order = context_rank.is_none_or(|rank| rank < point);
                let waits = passed.within(BEFORE_POLL) && (!handed_over || !passed.is_empty());
                waits
                    && in_order
                    && !earlier_link_follows
                    && context.is_none_or(|t| t <= stamp.time)
            }
            Point::GroDone => !passed.has(Point::Receive) && !passed.has(Point::Backlog),
            // skb_copy_datagram_iovec without an end after it: MSG_PEEK.
            Point::Copy => is_last_copy(open, later),
            Point::Wakeup => {
                let read = later
                    .iter()
                    .any(|s| matches!(s.point, Point::Copy | Point::Consume | Point::RecvDone));
                !bare && open.woke_reader(stamp) && read && passed.has(Point::Queued)
            }
            // Of a segment without payload nobody reads: sk_data_ready is then the listener's, for accept().
            // sk_data_ready comes after the packet is in the queue: a reader can be faster.
            Point::Queued => !bare && !passed.has(Point::Copy),
            Point::TransportDone => bare || !points_of(leg).meets(AT_SOCKET),
            _ => true,
        };
        if keep {
            if point.is_poll_context() {
                context_rank = Some(point);
            } else {
                context_rank = None;
                passed.insert(point);
            }
            context = Some(stamp.time);
            out.push(*stamp);
        }
    }
}

fn points_of(stamps: &[Stamp]) -> Points {
    let mut points = Points::default();
    for stamp in stamps {
        points.insert(stamp.point);
    }
    points
}

/// A packet can wait for a poll only before one handed it on.
const BEFORE_POLL: Points = Points::of(&[Point::Gro, Point::GroDone, Point::Backlog]);

fn is_last_copy(open: &Open, later: &[Stamp]) -> bool {
    let mut after = later.iter().filter(|s| {
        !matches!(
            s.point,
            Point::Queued | Point::Wakeup | Point::TransportDone
        )
    });
    match after.next() {
        Some(next) => matches!(next.point, Point::Consume | Point::RecvDone | Point::Drop),
        None => open.outcome() == Some(Outcome::Delivered),
    }
}

/// The legs, and their numbers in stamps.
fn find_legs(
    open: &Open,
    stamps: &[Stamp],
    outcome: Outcome,
    legs: &mut Vec<Leg>,
    numbers: &mut Vec<u8>,
) {
    numbers.clear();
    for leg in stamps.chunk_by(|a, b| a.leg == b.leg) {
        let points = points_of(leg);
        let came_in = points.meets(ARRIVAL) || points.meets(INBOUND);
        let goes_out =
            points.meets(OUTBOUND) || points.meets(SENDING) || points.meets(LOCAL_OUTPUT);
        let forwards = points.has(Point::Forward)
            || points.has(Point::FwdEnter)
            || points.has(Point::FwdLeave);
        let direction = if forwards || came_in && goes_out {
            Direction::Forward
        } else if goes_out {
            Direction::Transmit
        } else {
            Direction::Receive
        };
        let device = |s: &Stamp| Some(open.place(s).ifindex).filter(|&i| i != 0);
        let netns = leg.iter().map(|s| open.place(s).netns).find(|&n| n != 0);
        let input = || {
            leg.iter()
                .filter(|s| {
                    !OUTBOUND.has(s.point) && !matches!(s.point, Point::Copy | Point::Consume)
                })
                .find_map(device)
        };
        let output = || {
            let back = leg.iter().rev();
            back.filter(|s| OUTBOUND.has(s.point)).find_map(device)
        };
        numbers.extend(leg.first().map(|s| s.leg));
        legs.push(Leg {
            netns: netns.unwrap_or(0),
            direction,
            input: (direction != Direction::Transmit).then(input).flatten(),
            output: (direction != Direction::Receive).then(output).flatten(),
            outcome,
        });
    }
    // All but the last were passed on.
    if let Some((_, before)) = legs.split_last_mut() {
        for leg in before {
            if leg.direction == Direction::Receive {
                leg.direction = Direction::Forward;
            }
            leg.outcome = if leg.direction == Direction::Transmit {
                Outcome::Sent
            } else {
                Outcome::Forwarded
            };
        }
    }
}

/// The whole journey's direction.
pub(super) fn direction(legs: &[Leg]) -> Direction {
    match (
        legs.first().map(|l| l.direction),
        legs.last().map(|l| l.direction),
    ) {
        (Some(Direction::Transmit), Some(Direction::Receive)) => Direction::Loop,
        (Some(Direction::Forward), Some(Direction::Receive)) => Direction::Receive,
        (Some(first), _) => first,
        (None, _) => Direction::Receive,
    }
}

/// The stages, and whether a stamp between them was lost.
fn find_stages(open: &Open, stamps: &[Stamp], probed: Probed, out: &mut Vec<Stage>) -> bool {
    let mut lost = false;
    let mut leg = 0;
    for pair in stamps.windows(2) {
        let [from, to] = pair else { continue };
        let name = name(open, stamps, from, to, probed);
        let next_leg = u16::from(to.leg != from.leg);
        // The wait for the next leg's poll is the next leg's.
        let waits = from.point == Point::XmitDone;
        let its_leg = if waits { leg + next_leg } else { leg };
        leg += next_leg;
        let state = if is_gap(open, from, to, probed) {
            lost |= is_loss(open, from, to, probed);
            StageState::Gap
        } else {
            StageState::Measured
        };
        let ns = to.time - from.time;
        match out.last_mut() {
            Some(last) if last.name == name && last.leg == its_leg => {
                last.ns += ns;
                last.state = last.state.max(state);
            }
            _ => out.push(Stage {
                name,
                leg: its_leg,
                start: from.time,
                ns,
                cpu: from.cpu,
                state,
            }),
        }
    }
    lost
}

/// The name of the span from one stamp to the next.
fn name(open: &Open, stamps: &[Stamp], from: &Stamp, to: &Stamp, probed: Probed) -> StageName {
    let next = to.point;
    let next_leg = to.leg != from.leg;
    match from.point {
        Point::Interrupt => StageName::Interrupt,
        Point::NapiSchedule => StageName::NapiSchedule,
        Point::Softirq => StageName::Softirq,
        Point::Poll => StageName::NapiPoll,
        Point::Gro | Point::GroDone => StageName::Gro,
        // enqueue_to_backlog raises the softirq only if it is not raised yet: without a softirq stamp the
        // packet waited for the poll that was already running.
        Point::Backlog if next.is_poll_context() || !probed.has(Hook::Softirq) => {
            StageName::NapiSchedule
        }
        Point::Backlog => StageName::NapiPoll,
        // Bookends without the IP hook: ip_rcv is all that lies between.
        Point::Receive if next == Point::PreEnter && !probed.has(Hook::Ip) => StageName::Ip,
        Point::Receive => StageName::Receive,
        // dev_queue_xmit runs egress classifiers, too (sch_handle_egress).
        Point::Classify if went_out(stamps, from) => StageName::DevQueue,
        Point::Classify | Point::XdpGeneric => StageName::TcIngress,
        Point::Ip => StageName::Ip,
        Point::PreEnter => StageName::Prerouting,
        Point::PreLeave => StageName::Routing,
        Point::Deliver | Point::InEnter => StageName::Input,
        Point::Forward | Point::FwdEnter => StageName::Forward,
        Point::FwdLeave => StageName::IpOutput,
        // A FIN in the receive queue of a socket that was then closed (see `outcome::dropped`).
        Point::InLeave | Point::Transport | Point::TcpSocket | Point::TransportDone
            if next == Point::Drop
                && open.is_bare_tcp()
                && open.outcome() == Some(Outcome::Consumed) =>
        {
            StageName::SocketQueue
        }
        // Out-of-order data waits without sk_data_ready; so does data below SO_RCVLOWAT, and what was read
        // without its queueing being seen.
        Point::InLeave | Point::Transport | Point::TcpSocket | Point::TransportDone
            if matches!(next, Point::Copy | Point::RecvDone) || read_at(open, next) =>
        {
            StageName::SocketQueue
        }
        Point::InLeave | Point::Transport | Point::TcpSocket | Point::TransportDone => {
            StageName::Transport
        }
        Point::Queued | Point::TcpBacklog if open.is_bare_tcp() && next != Point::TcpSocket => {
            StageName::Transport
        }
        Point::TcpBacklog | Point::Queued => StageName::SocketQueue,
        Point::Wakeup => StageName::Wakeup,
        Point::Copy | Point::RecvDone => StageName::Recv,
        Point::Send => StageName::Send,
        Point::SocketWrite => StageName::SocketWrite,
        Point::TcpTransmit => StageName::TcpTransmit,
        Point::IpOutput => StageName::IpOutput,
        Point::OutEnter => StageName::Output,
        Point::OutLeave => StageName::Routing,
        Point::PostEnter => StageName::Postrouting,
        Point::PostLeave | Point::Neighbour => StageName::Neighbour,
        Point::DevQueue | Point::QdiscDequeue => StageName::DevQueue,
        Point::QdiscEnqueue => StageName::Qdisc,
        Point::StartXmit => StageName::Driver,
        // veth with NAPI: the packet lies in the peer's ring.
        Point::XmitDone if next_leg => StageName::NapiSchedule,
        Point::XmitDone => StageName::Completion,
        // Datagrams without a copy stamp: freed, and recv() returns.
        Point::Consume | Point::Drop if next == Point::RecvDone || !went_out(stamps, from) => {
            StageName::Recv
        }
        Point::Consume | Point::Drop => StageName::Completion,
    }
}

/// Freed by its reader.
pub(super) fn read_at(open: &Open, next: Point) -> bool {
    next == Point::Consume && open.outcome() == Some(Outcome::Delivered)
}

/// Whether the packet was on its way out of this leg already.
fn went_out(stamps: &[Stamp], at: &Stamp) -> bool {
    stamps
        .iter()
        .take_while(|s| (s.leg, s.time) <= (at.leg, at.time) && *s != at)
        .any(|s| s.leg == at.leg && OUTBOUND.has(s.point))
}
