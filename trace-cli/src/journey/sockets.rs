//! TCP by sequence numbers: which `recv()` read a packet's bytes, which `send()` wrote them, and whether
//! they were sent before.
//!
//! sk_buffs do not survive a TCP socket: the receive queue merges neighbours (`tcp_try_coalesce`,
//! `tcp_collapse`), the write queue splits and merges them, and what is sent is a clone. Sequence numbers
//! do survive.

use std::collections::{BTreeMap, VecDeque};

use super::hash::ByAddress;
use super::model::JourneyId;
use super::slab::Ref;

/// Most ranges kept of either kind.
const LIMIT: usize = 65_536;

/// `a` lies before `b` on the circle of sequence numbers (the kernel's `before()`).
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Bytes that wait to be read.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    seq: u32,
    /// The sequence number after the last byte.
    end: u32,
    journey: Ref,
}

/// What one `recv()` means for one journey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Read {
    pub journey: Ref,
    /// Its last byte was read, too.
    pub whole: bool,
}

/// The time of a `send()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sending {
    pub start: u64,
    pub end: Option<u64>,
    pub pid: u32,
    pub cpu: u16,
}

#[derive(Clone, Copy, Debug)]
struct Ranged<T> {
    len: u32,
    at: u64,
    value: T,
}

/// Sequence ranges by socket, the oldest forgotten first.
#[derive(Debug)]
struct Ranges<T> {
    by_start: BTreeMap<(u64, u32), Ranged<T>>,
    by_age: VecDeque<(u64, u32, u64)>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            by_start: BTreeMap::new(),
            by_age: VecDeque::new(),
        }
    }
}

impl<T: Copy> Ranges<T> {
    fn insert(&mut self, sk: u64, seq: u32, len: u32, at: u64, value: T) {
        self.by_start.insert((sk, seq), Ranged { len, at, value });
        self.by_age.push_back((sk, seq, at));
        if self.by_age.len() > LIMIT {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((sk, seq, at)) = self.by_age.pop_front() else {
            return;
        };
        if self.by_start.get(&(sk, seq)).is_some_and(|r| r.at == at) {
            self.by_start.remove(&(sk, seq));
        }
    }

    fn expire(&mut self, before: u64) {
        while self.by_age.front().is_some_and(|&(_, _, at)| at < before) {
            self.forget_oldest();
        }
    }

    /// The range that holds `seq`.
    fn find(&self, sk: u64, seq: u32) -> Option<T> {
        let holds = |(start, range): (u32, &Ranged<T>)| {
            (seq.wrapping_sub(start) < range.len).then_some(range.value)
        };
        let below = self.by_start.range((sk, 0)..=(sk, seq)).next_back();
        let found = below.and_then(|(&(_, start), range)| holds((start, range)));
        // A range that began before the numbers wrapped is the socket's last one.
        found.or_else(|| {
            let last = self.by_start.range((sk, seq)..=(sk, u32::MAX)).next_back();
            last.and_then(|(&(_, start), range)| holds((start, range)))
        })
    }

    /// Everything that begins inside `seq .. seq + len`, in order.
    fn inside(&self, sk: u64, seq: u32, len: u32) -> Vec<T> {
        let end = seq.wrapping_add(len);
        let mut found = Vec::new();
        let mut collect = |from: u32, to: u32| {
            if from < to || to == u32::MAX {
                let part = self.by_start.range((sk, from)..=(sk, to));
                found.extend(
                    part.filter(|((_, start), _)| start.wrapping_sub(seq) < len)
                        .map(|(_, range)| range.value),
                );
            }
        };
        if end >= seq {
            collect(seq, end);
        } else {
            collect(seq, u32::MAX);
            collect(0, end);
        }
        found
    }
}

/// All that is known of TCP sockets.
#[derive(Default, Debug)]
pub(super) struct Sockets {
    waiting: ByAddress<u64, VecDeque<Waiting>>,
    /// Read, but the call that read it has not returned yet: by socket and thread.
    returning: ByAddress<(u64, u32), Vec<Ref>>,
    /// Datagrams queued on a socket, the oldest first.
    datagrams: ByAddress<u64, VecDeque<Ref>>,
    /// Threads that copied a datagram with a stamp, when and which; their `recv()` has not returned.
    copying: BTreeMap<(u32, u64), Ref>,
    sends: Ranges<Sending>,
    sent: Ranges<(Ref, JourneyId)>,
}

/// Whether a datagram in a socket's queue is the one that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// It is.
    This,
    /// It was not there yet, or another thread has it in hand.
    NotYet,
    /// It has left the queue.
    Gone,
}

impl Sockets {
    /// A journey's bytes were queued on a socket.
    pub(super) fn wait(&mut self, sk: u64, seq: u32, len: u32, journey: Ref) {
        let queue = self.waiting.entry(sk).or_default();
        // In order nearly always; out-of-order data finds its place from the back.
        let place = queue
            .iter()
            .rposition(|w| !before(seq, w.seq))
            .map_or(0, |i| i + 1);
        let end = seq.wrapping_add(len);
        queue.insert(place, Waiting { seq, end, journey });
    }

    /// It ended otherwise.
    pub(super) fn forget(&mut self, sk: u64, journey: Ref) {
        if let Some(queue) = self.waiting.get_mut(&sk) {
            // Mostly the oldest one. None waits twice.
            if let Some(place) = queue.iter().position(|w| w.journey == journey) {
                queue.remove(place);
            }
            if queue.is_empty() {
                self.waiting.remove(&sk);
            }
        }
    }

    /// `recv()` copied `seq .. seq + len`: the journeys whose bytes those are.
    pub(super) fn read(&mut self, sk: u64, seq: u32, len: u32) -> Vec<Read> {
        let Some(queue) = self.waiting.get_mut(&sk) else {
            return Vec::new();
        };
        let end = seq.wrapping_add(len);
        let mut reads = Vec::new();
        let mut at = 0;
        while let Some(&w) = queue.get(at) {
            if !before(w.seq, end) {
                break;
            }
            if !before(seq, w.end) {
                at += 1;
                continue;
            }
            let whole = !before(end, w.end);
            reads.push(Read {
                journey: w.journey,
                whole,
            });
            if whole {
                queue.remove(at);
            } else {
                at += 1;
            }
        }
        if queue.is_empty() {
            self.waiting.remove(&sk);
        }
        reads
    }

    /// The call of thread `pid` that read `journey` has not returned yet.
    pub(super) fn return_later(&mut self, sk: u64, pid: u32, journey: Ref) {
        let all = self.returning.entry((sk, pid)).or_default();
        if all.len() < LIMIT {
            all.push(journey);
        }
    }

    /// It returned.
    pub(super) fn returned(&mut self, sk: u64, pid: u32) -> Vec<Ref> {
        self.returning.remove(&(sk, pid)).unwrap_or_default()
    }

    /// A datagram was queued on a socket.
    pub(super) fn queue_datagram(&mut self, sk: u64, journey: Ref) {
        let queue = self.datagrams.entry(sk).or_default();
        if queue.len() >= LIMIT {
            queue.pop_front();
        }
        queue.push_back(journey);
    }

    /// A thread copied a datagram at this time. A segment tells of it before its time: it holds all that happened to
    /// its packet on that CPU.
    pub(super) fn copied(&mut self, pid: u32, time: u64, journey: Ref) {
        if self.copying.len() >= LIMIT {
            self.copying.pop_first();
        }
        self.copying.insert((pid, time), journey);
    }

    /// The datagram that the thread's `recv()` returned with at `end`, where its copy was stamped.
    pub(super) fn was_copied(&mut self, pid: u32, end: u64) -> Option<Ref> {
        let mut last = None;
        while let Some((&copy, &journey)) = self.copying.range((pid, 0)..=(pid, end)).next() {
            self.copying.remove(&copy);
            last = Some(journey);
        }
        last
    }

    /// `recv()` on a datagram socket returned with the oldest one in its queue that `fits`.
    pub(super) fn read_datagram(
        &mut self,
        sk: u64,
        mut fits: impl FnMut(Ref) -> Fit,
    ) -> Option<Ref> {
        let queue = self.datagrams.get_mut(&sk)?;
        let (mut found, mut at) = (None, 0);
        while let Some(&journey) = queue.get(at) {
            match fits(journey) {
                Fit::This => {
                    found = queue.remove(at);
                    break;
                }
                Fit::NotYet => at += 1,
                Fit::Gone => {
                    queue.remove(at);
                }
            }
        }
        if queue.is_empty() {
            self.datagrams.remove(&sk);
        }
        found
    }

    /// The place of this datagram in its socket's queue.
    pub(super) fn place_of(&self, sk: u64, datagram: Ref) -> Option<usize> {
        let queue = self.datagrams.get(&sk)?;
        queue.iter().position(|&r| r == datagram)
    }

    /// The place of the last one in a socket's queue that `fits`.
    pub(super) fn last_place(&self, sk: u64, mut fits: impl FnMut(Ref) -> Fit) -> Option<usize> {
        let queue = self.datagrams.get(&sk)?;
        queue.iter().rposition(|&r| fits(r) == Fit::This)
    }

    /// So many have left a socket's queue: gives the last of them, if it `fits`. The others were read, too, and nobody knows when.
    pub(super) fn read_up_to(
        &mut self,
        sk: u64,
        count: usize,
        mut fits: impl FnMut(Ref) -> Fit,
    ) -> Option<Ref> {
        let queue = self.datagrams.get_mut(&sk)?;
        let last = queue.drain(..count).next_back();
        if queue.is_empty() {
            self.datagrams.remove(&sk);
        }
        last.filter(|&r| fits(r) == Fit::This)
    }

    /// A `send()` of `seq .. seq + len`: the journeys that carry those bytes, if they were seen first.
    pub(super) fn send(
        &mut self,
        sk: u64,
        seq: u32,
        len: u32,
        at: u64,
        sending: Sending,
    ) -> Vec<Ref> {
        self.sends.insert(sk, seq, len, at, sending);
        let sent = self.sent.inside(sk, seq, len);
        sent.into_iter().map(|(journey, _)| journey).collect()
    }

    /// The `send()` that wrote the byte `seq`.
    pub(super) fn sending(&self, sk: u64, seq: u32) -> Option<Sending> {
        self.sends.find(sk, seq)
    }

    /// TCP sent `seq .. seq + len`: the journey that did so before.
    pub(super) fn transmit(
        &mut self,
        sk: u64,
        seq: u32,
        len: u32,
        at: u64,
        journey: (Ref, JourneyId),
    ) -> Option<JourneyId> {
        let earlier = self.sent.find(sk, seq);
        self.sent.insert(sk, seq, len, at, journey);
        earlier.map(|(_, id)| id)
    }

    /// The journey that last sent the byte `seq`.
    pub(super) fn transmitted(&self, sk: u64, seq: u32) -> Option<Ref> {
        self.sent.find(sk, seq).map(|(journey, _)| journey)
    }

    /// Forgets what is older.
    pub(super) fn expire(&mut self, before: u64) {
        self.sends.expire(before);
        self.sent.expire(before);
    }

    /// Drops calls in progress whose journeys are gone.
    pub(super) fn sweep(&mut self, alive: impl Fn(Ref) -> bool) {
        self.returning.retain(|_, refs| {
            refs.retain(|&r| alive(r));
            !refs.is_empty()
        });
        self.datagrams.retain(|_, refs| {
            // Read in order: what is gone lies in front.
            while refs.front().is_some_and(|&r| !alive(r)) {
                refs.pop_front();
            }
            !refs.is_empty()
        });
    }
}
