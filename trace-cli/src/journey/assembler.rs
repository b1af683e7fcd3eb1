//! Joins records to journeys. Every decision is another file's; this one holds the state and says who is
//! asked when.
//!
//! Time here is *stream time*: the time of the record in hand, never the caller's clock. Deadlines are
//! met in their own order between records, so how often [`Assembler::tick`] is called changes when a
//! journey is given out, not what it says.
//!
//! `reading` takes segments, `calls` system calls and polls, `ending` ends journeys and gives them out.

mod calls;
mod ending;
mod reading;

use calls::received;
use reading::{comes_back, own_time};

use std::collections::VecDeque;

use trace_ebpf::{Counter, SocketOp};

use crate::decode::{Record, SocketRecord};

use super::connections::Connections;
use super::ledger::{Balance, KernelCounters};
use super::links::Links;
use super::model::{Journey, Ledger, Losses, Unfinished};
use super::names::Names;
use super::open::Open;
use super::outcome;
use super::point::Point;
use super::polls::Polls;
use super::probed::Probed;
use super::reorder::{Bucket, Due, Event, Hold};
use super::slab::{Ref, Slab};
use super::sockets::Sockets;
use super::stages::Builder;

/// How long a TCP segment without payload may be silent, once it reached its transport, before it counts
/// as used up.
const CONSUME_NS: u64 = 50_000_000;
/// A drop's record and its stamp are taken by one program run.
const DROP_NS: u64 = 100_000;
/// A journey not heard of for so long may fall asleep.
const DROWSY_NS: u64 = 2_000_000;
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
    /// Journeys that may be awake at once, finished ones among them. Of more, those of which nothing is heard fall asleep: they take
    /// less room then.
    pub awake: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_journeys: 65_536,
            age_ns: 10_000_000_000,
            hold_ns: 100_000_000,
            linger_ns: 50_000_000,
            // A little less than a power of two, to which lists grow.
            awake: 60_000,
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
    timelines: Builder,
    /// Memory of segments that were read.
    context: Vec<(Point, u64)>,
    last_id: u64,
    /// Stream time.
    now: u64,
    /// Records that are older may be used.
    due: u64,
    /// … and were not yet, all of them.
    ticked: bool,
    /// When the trace ended, and what was open then.
    ended: Option<u64>,
    unended: Vec<Ref>,
    /// Everything older was given on.
    watermark: u64,
    /// Stream time of the last loss the kernel side told of.
    lost_at: Option<u64>,
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
            sockets: Sockets::default(),
            connections: Connections::default(),
            polls: Polls::default(),
            links: Links::default(),
            names: Names::default(),
            balance: Balance::default(),
            quiet: VecDeque::new(),
            lingering: VecDeque::new(),
            out: VecDeque::new(),
            timelines: Builder::new(Probed::ALL),
            context: Vec::new(),
            last_id: 0,
            now: 0,
            due: 0,
            ticked: false,
            ended: None,
            unended: Vec::new(),
            watermark: 0,
            lost_at: None,
        }
    }

    /// Says which hooks the attach plan could attach; until then all count as attached.
    pub fn set_probed(&mut self, probed: Probed) {
        self.probed = probed;
        self.timelines = Builder::new(probed);
    }

    /// Tells the number of `SKB_DROP_REASON_QUEUE_PURGE` on this kernel (6.3+): what a closed socket's queue
    /// still held. For a FIN that is its end, not a loss.
    pub fn set_queue_purge(&mut self, reason: Option<u32>) {
        self.queue_purge = reason;
    }

    /// Takes a record, from any ring.
    pub fn push(&mut self, record: Record<'_>) {
        match record {
            Record::Segment(mut segment) => {
                for call in segment.calls() {
                    self.hold_call(received(&segment, &call));
                }
                while let Some(at) = comes_back(&segment) {
                    let (before, after) = segment.split(at);
                    self.hold.segment(own_time(&after), &after);
                    segment = before;
                }
                self.hold.segment(own_time(&segment), &segment);
            }
            Record::Drop(d) => self.hold.event(d.time, d.cpu, Event::Drop(d)),
            Record::Socket(call) => self.hold_call(call),
            Record::Poll(p) => self.hold.event(p.start, p.cpu, Event::Poll(p)),
            Record::Process(p) => self.names.learn(p),
            Record::Device(_) => {}
        }
        while self.hold.is_over_full()
            && let Some(records) = self.hold.take_oldest()
        {
            self.process_all(records);
        }
    }

    fn hold_call(&mut self, call: SocketRecord) {
        let time = match call.op {
            SocketOp::ReceiveEnd
            | SocketOp::Datagram
            | SocketOp::DatagramAt
            | SocketOp::DatagramBefore => call.end.unwrap_or_default(),
            SocketOp::Send | SocketOp::Receive | SocketOp::Retransmit => call.start,
        };
        self.hold.event(time, call.cpu, Event::Socket(call));
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

    /// It is `now`: what has been held back for long enough is used, as far as is needed for the next journey to
    /// [`pop`](Self::pop).
    pub fn tick(&mut self, now: u64) {
        self.due = self.due.max(now.saturating_sub(self.limits.hold_ns));
        self.ticked = true;
    }

    /// The trace ended: all records that are held, and then all journeys, end as they are [`pop`](Self::pop)ped.
    pub fn finish(&mut self, now: u64) {
        self.ended = Some(now);
        self.ticked = true;
    }

    /// The next finished journey; `None` when all that is due was used.
    pub fn pop(&mut self) -> Option<Journey> {
        loop {
            if let Some(journey) = self.out.pop_front() {
                return Some(journey);
            }
            if self.ticked {
                self.advance();
            } else if !self.end_next() {
                return None;
            }
        }
    }

    /// Takes a journey's memory back, for the next one.
    pub fn give_back(&mut self, journey: Journey) {
        self.timelines.give_back(journey.legs, journey.stages);
    }

    /// The balance of all journeys given out so far.
    pub fn ledger(&self) -> Ledger {
        self.balance.ledger()
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        self.balance.losses()
    }

    /// Segments that the kernel side did not open, since their flow is not in the sample.
    pub fn left_out(&self) -> u64 {
        self.balance.kernel.get(Counter::LeftOut)
    }

    /// Journeys that are open now.
    pub fn open_journeys(&self) -> usize {
        self.open
    }

    /// Uses the oldest records that are due. A millisecond's at a time: their journeys are taken while caches still hold them.
    fn advance(&mut self) {
        let records = match self.ended {
            None => self.hold.take(self.due),
            Some(_) => self.hold.take_oldest(),
        };
        if let Some(records) = records {
            self.process_all(records);
            let drowsy = self.now.saturating_sub(DROWSY_NS);
            self.slab.rest(drowsy, self.limits.awake);
            return;
        }
        self.ticked = false;
        if let Some(now) = self.ended {
            self.now = self.now.max(now.saturating_sub(self.limits.hold_ns));
            self.expire(self.now);
            self.unended = self.slab.refs();
            // The last ones first: they are taken from the back.
            let last = self.last_id as u32;
            self.unended.sort_by_key(|r| last.wrapping_sub(r.id));
            return;
        }
        self.watermark = self.watermark.max(Hold::horizon(self.due));
        self.now = self.now.max(self.watermark);
        self.expire(self.now);
        self.sockets
            .expire(self.now.saturating_sub(self.limits.age_ns));
        self.sockets.sweep(|r| self.slab.has(r));
    }

    /// When the trace ended: gives out the next one of those that lingered, or else ends the oldest that is open. One by one,
    /// since those that are asleep would need much more room awake.
    fn end_next(&mut self) -> bool {
        if self.ended.is_none() {
            return false;
        }
        if let Some((_, journey)) = self.lingering.pop_front() {
            self.give_out(journey);
        } else if let Some(journey) = self.unended.pop() {
            self.end_silently(journey, Unfinished::TraceEnded);
        } else {
            return false;
        }
        true
    }

    fn process_all(&mut self, mut bucket: Bucket) {
        bucket.for_each(|time, record| {
            let late = time < self.watermark;
            self.now = self.now.max(time);
            self.expire(self.now);
            match record {
                Due::Segment(segment) => self.segment(&segment, late),
                Due::Event(Event::Drop(record)) => self.dropped(record),
                Due::Event(Event::Socket(record)) => self.socket(record),
                Due::Event(Event::Poll(record)) => self.poll(record),
            }
        });
        self.hold.give_back(bucket);
    }

    /// Meets all deadlines up to `until`, in their order.
    fn expire(&mut self, until: u64) {
        loop {
            let quiet = self.quiet.front().map_or(u64::MAX, |q| q.0);
            let linger = self.lingering.front().map_or(u64::MAX, |l| l.0);
            let aged = self
                .slab
                .oldest_heard()
                .map_or(u64::MAX, |heard| heard.saturating_add(self.limits.age_ns));
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
                    let heard = self.slab.heard(journey);
                    let silent =
                        heard.is_some_and(|heard| heard.saturating_add(CONSUME_NS) <= next);
                    let ends = |open: &mut Open| open.is_open() && outcome::ends_soon(open);
                    if silent && self.slab.get_mut(journey).is_some_and(ends) {
                        self.end_silently(journey, Unfinished::Aged);
                    }
                }
            } else if let Some(journey) = self.slab.oldest() {
                self.end_silently(journey, Unfinished::Aged);
            }
            self.now = stream;
        }
    }
}

#[cfg(test)]
mod tests;
