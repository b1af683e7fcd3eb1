//! How journeys end, and are given out.

use super::{Assembler, DROP_NS};
use crate::decode::DropRecord;
use crate::journey::awake::Part;
use crate::journey::model::{Drop, Journey, Outcome, Unfinished};
use crate::journey::names::Names;
use crate::journey::open::{Open, State};
use crate::journey::outcome;
use crate::journey::point::Point;
use crate::journey::slab::Ref;
use crate::journey::stages::{self, Builder};
use std::mem::take;

/// What lingered was not heard of for long, and no cache has it: so those that come after this one are read ahead, a part
/// that says where another lies before it.
const READ_AHEAD: [(usize, Option<Part>); 3] =
    [(12, None), (8, Some(Part::Itself)), (4, Some(Part::Stamps))];

impl Assembler {
    /// Its address belongs to another packet now.
    pub(super) fn replaced(&mut self, journey: Ref) {
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        // tcp_try_coalesce frees the sk_buff and keeps the bytes, which are still to be read.
        if !open.is_open() || open.waits {
            return;
        }
        // A datagram was read, or its socket's queue would have it: that call has not returned yet.
        if open.datagram && !open.seen.has(Point::Copy) {
            return;
        }
        self.end_silently(journey, Unfinished::AddressReused);
    }

    /// Ends a journey whose end was not seen.
    pub(super) fn end_silently(&mut self, journey: Ref, why: Unfinished) {
        let Some(open) = self.slab.get_mut(journey).filter(|o| o.is_open()) else {
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

    pub(super) fn end(&mut self, journey: Ref, outcome: Outcome, time: u64) {
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
    pub(super) fn dropped(&mut self, record: &DropRecord) {
        let known = self.of_skb(record.skb);
        // Records of drops come whether the packet passed the filter or not.
        let Some((journey, state)) = known.and_then(|r| Some((r, self.slab.get_mut(r)?.state)))
        else {
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

    pub(super) fn describe_drop(
        &mut self,
        journey: Ref,
        fill: impl FnOnce(&mut Drop),
        time: u64,
        cpu: u16,
    ) {
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let stage = self.timelines.stage_at_end(open);
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

    /// Builds a finished journey and hands it to the caller.
    pub(super) fn give_out(&mut self, journey: Ref) {
        for (ahead, part) in READ_AHEAD {
            if let Some(&(_, next)) = self.lingering.get(ahead) {
                self.slab.read_ahead(next, part);
            }
        }
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let (finished, lost) = build(open, &mut self.timelines, &self.names);
        self.balance.count(&finished, lost);
        self.out.push_back(finished);
        self.slab.free(journey);
    }
}

/// The journey, and whether a part in its middle was lost.
fn build(open: &mut Open, timelines: &mut Builder, names: &Names) -> (Journey, bool) {
    let outcome = open
        .outcome()
        .unwrap_or(Outcome::Unfinished(Unfinished::TraceEnded));
    let timeline = timelines.timeline(open, outcome);
    let extra = take(&mut open.extra)
        .map(|extra| *extra)
        .unwrap_or_default();
    let polls = extra.polls.into_iter().filter_map(|(leg, mut poll)| {
        poll.leg = timelines.leg(leg)?;
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
        sender: names.process(open.sender),
        receiver: names.process(open.receiver),
        polls: polls.collect(),
        links: extra.links,
        partial: open.partial,
        legs: timeline.legs,
    };
    (journey, timeline.lost)
}
