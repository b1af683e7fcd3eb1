//! What other records know of a journey: system calls on its sockets, and the polls that brought it.

use super::reading::flow_of;
use super::{Assembler, CONSUME_NS};
use crate::decode::{Call, PollRecord, Segment, SocketRecord};
use crate::journey::connections::Connections;
use crate::journey::flow;
use crate::journey::model::{Flow, Link, LinkKind, Outcome};
use crate::journey::open::{Open, Side, Stamp, State};
use crate::journey::outcome;
use crate::journey::point::{Point, SOCKET};
use crate::journey::probed::Probed;
use crate::journey::slab::Ref;
use crate::journey::sockets::{Fit, Sending};
use trace_ebpf::{Hook, SocketOp};

/// A `recv()` of which a segment of a packet for the same socket tells.
pub(super) fn received(segment: &Segment<'_>, call: &Call) -> SocketRecord {
    let tcp = flow_of(segment).and_then(|flow| flow.tcp);
    SocketRecord {
        op: match tcp {
            Some(_) => SocketOp::Receive,
            None => SocketOp::Datagram,
        },
        cpu: segment.cpu,
        start: call.start,
        end: Some(call.end),
        sk: segment.sk,
        seq: tcp.map_or(0, |tcp| tcp.seq),
        len: tcp.map_or(0, |tcp| tcp.payload),
        pid: call.pid,
    }
}

impl Assembler {
    /// After a segment (which `began` it): what the journey is now to sockets and deadlines.
    pub(super) fn settle(&mut self, journey: Ref, segment: &Segment<'_>, began: bool) {
        let now = self.now;
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        let sk = segment.sk;
        if sk != 0 {
            if open.side == Side::Receive && open.seen.meets(SOCKET) {
                open.told_in &= open.sk_in == sk;
                open.sk_in = sk;
            } else if open.sent_here && (began || open.leg == 0) {
                open.told_out &= open.sk_out == sk;
                open.sk_out = sk;
            }
        }
        learn_sockets(open, &mut self.connections);
        if open.is_open() {
            let arrived = open.sk_in != 0 && open.passed_transport();
            if arrived
                && !open.waits
                && let Some((seq, payload)) = open.tcp_data()
            {
                open.waits = true;
                self.sockets.wait(open.sk_in, seq, payload, journey);
            }
            if arrived && !open.datagram && !open.is_tcp() {
                open.datagram = true;
                self.sockets.queue_datagram(open.sk_in, journey);
            }
            if outcome::ends_soon(open) {
                self.quiet
                    .push_back((now.saturating_add(CONSUME_NS), journey));
            }
            self.slab.touch(journey, now);
        }
        self.register(journey);
    }

    /// TCP sent something: were these bytes sent before, and by which `send()`?
    pub(super) fn register(&mut self, journey: Ref) {
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
        let data = open.tcp_data().is_some();
        let earlier = self.sockets.transmit(sk, seq, len, now, (journey, open.id));
        match earlier {
            Some(earlier) => {
                open.retransmitted = true;
                open.link(Link {
                    kind: LinkKind::RetransmitOf,
                    journey: earlier,
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

    pub(super) fn socket(&mut self, record: &SocketRecord) {
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
                self.reads_returned(record);
            }
            SocketOp::ReceiveEnd => self.reads_returned(record),
            SocketOp::Datagram | SocketOp::DatagramAt | SocketOp::DatagramBefore => {
                self.datagram(record);
            }
            SocketOp::Retransmit => {
                let last = self.sockets.transmitted(record.sk, record.seq);
                if let Some(open) = last.and_then(|r| self.slab.get_mut(r)) {
                    open.retransmitted = true;
                }
            }
        }
    }

    /// `recv()` returned with a datagram.
    fn datagram(&mut self, record: &SocketRecord) {
        let Some(end) = record.end else { return };
        if let Some(journey) = self.sockets.was_copied(record.pid, end) {
            self.copied_datagram(journey, end, record.cpu);
            return;
        }
        let named = self.slab.of_skb(record.start);
        let slab = &mut self.slab;
        let mut fits = |r| {
            let Some(open) = slab.get_mut(r) else {
                return Fit::Gone;
            };
            match open.outcome() {
                None | Some(Outcome::Delivered) if open.receiver_free() => {}
                _ => return Fit::Gone,
            }
            // Copied with a stamp: another thread's, its own record follows.
            if open.seen.has(Point::Copy) {
                return Fit::Gone;
            }
            match open.readable_since() {
                Some(time) if time <= end => Fit::This,
                _ => Fit::NotYet,
            }
        };
        let (sk, sockets) = (record.sk, &mut self.sockets);
        let place = named.and_then(|datagram| sockets.place_of(sk, datagram));
        let read = match (record.op, record.start) {
            (SocketOp::DatagramAt, _) => {
                place.and_then(|place| sockets.read_up_to(sk, place + 1, fits))
            }
            (SocketOp::DatagramBefore, 0) => sockets
                .last_place(sk, &mut fits)
                .and_then(|last| sockets.read_up_to(sk, last + 1, fits)),
            (SocketOp::DatagramBefore, _) => {
                place.and_then(|place| sockets.read_up_to(sk, place, fits))
            }
            _ => sockets.read_datagram(sk, fits),
        };
        if let Some(journey) = read {
            self.read_datagram(journey, end, record);
        }
    }

    /// `recv()` copied bytes of a journey; all that were left, if `whole`.
    pub(super) fn read(&mut self, journey: Ref, whole: bool, record: &SocketRecord) {
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

    /// A `recv()` returned, if the record says so: with all that its earlier copies read, too.
    fn reads_returned(&mut self, record: &SocketRecord) {
        let Some(end) = record.end else { return };
        for journey in self.sockets.returned(record.sk, record.pid) {
            if let Some(open) = self.slab.get_mut(journey) {
                returned(open, end, record.cpu);
            }
        }
    }

    /// `recv()` returned with a datagram. Small ones are copied without a tracepoint (`copy_linear_skb`):
    /// then this is all that tells who read it.
    pub(super) fn read_datagram(&mut self, journey: Ref, end: u64, record: &SocketRecord) {
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

    /// The journey's own segment tells that the `recv()` which copied it returned.
    pub(super) fn reader_returned(&mut self, journey: Ref, end: u64, cpu: u16) {
        if let Some(open) = self.slab.get_mut(journey) {
            self.sockets.was_copied(open.receiver, end);
        }
        self.copied_datagram(journey, end, cpu);
    }

    /// `recv()` returned with a datagram whose copy was stamped. Before 7.0 its end is `skb_consume_udp`, a moment
    /// earlier; since then it is freed where no hook is (`skb_attempt_defer_free`).
    fn copied_datagram(&mut self, journey: Ref, end: u64, cpu: u16) {
        let Some(open) = self.slab.get_mut(journey) else {
            return;
        };
        match open.state {
            State::Open if open.last.is_some_and(|last| last.1 <= end) => {
                let place = open.current_place();
                open.own_stamp(Point::RecvDone, end, cpu, place, 0);
                self.end(journey, Outcome::Delivered, end);
            }
            State::Ended { .. } if !open.seen.has(Point::Consume) => returned(open, end, cpu),
            _ => {}
        }
    }

    pub(super) fn poll(&mut self, record: &PollRecord) {
        for (journey, leg) in self.polls.learn(record) {
            self.join_poll(journey, leg, crate::journey::polls::poll(record));
        }
    }

    pub(super) fn join_poll(&mut self, journey: Ref, leg: u8, poll: crate::journey::model::Poll) {
        if let Some(open) = self.slab.get_mut(journey)
            && open
                .extra
                .as_ref()
                .is_none_or(|e| e.polls.iter().all(|p| p.0 != leg))
        {
            let polls = &mut open.extra().polls;
            // One for each leg, and few legs: no room for four.
            polls.reserve_exact(1);
            polls.push((leg, poll));
        }
    }
}

/// Which sockets a journey is from and for: those it was seen at, or those of its connection. What it knows of its own, its
/// connection learns once.
fn learn_sockets(open: &mut Open, connections: &mut Connections) {
    let (Some(first), Some(flow)) = (&open.flow, open.current_flow()) else {
        return;
    };
    let netns = open.current_place().netns;
    let (mut sk_out, mut sk_in) = (open.sk_out, open.sk_in);
    let (mut told_out, mut told_in) = (open.told_out, open.told_in);
    if flow::is_tcp(first) {
        let origin = open.places.first().netns;
        if sk_out != 0 && !is_syn(first) {
            if !told_out {
                connections.sent(origin, first, sk_out);
                told_out = true;
            }
        } else if open.sent_here
            && let Some(sk) = connections.sender(origin, first)
        {
            // One segment held both ways (lo, veth): of its two sockets it names the receiver's.
            sk_out = sk;
        }
        if sk_in != 0 {
            // sk_data_ready of a segment that only opens the connection is the listener's.
            let its_own = !open.is_bare_tcp() || open.seen.has(Point::TcpSocket);
            if its_own && !told_in {
                connections.received(netns, flow, sk_in);
                told_in = true;
            }
        } else if open.passed_transport() {
            sk_in = connections.receiver(netns, flow).unwrap_or(0);
        }
    } else if flow::is_udp(flow) && open.passed_transport() {
        if sk_in == 0 {
            let known = connections.datagram_receiver(netns, flow);
            sk_in = known.unwrap_or(0);
        } else if open.seen.has(Point::Queued) && flow::is_unicast(flow) && !told_in {
            connections.datagram(netns, flow, sk_in);
            told_in = true;
        }
    }
    (open.sk_out, open.sk_in) = (sk_out, sk_in);
    (open.told_out, open.told_in) = (told_out, told_in);
}

/// A segment that opens a connection: the answer to it is sent by the listener.
pub(super) fn is_syn(flow: &Flow) -> bool {
    flow.tcp.is_some_and(|tcp| tcp.flags & 2 != 0)
}

/// The `send()` that wrote a TCP segment's bytes, for one that was sent later (by an ACK, by the pacing
/// timer): it was called, all was copied when it returned, and the segment left from the write queue.
///
/// One that was sent inside `send()` carries these stamps itself.
pub(super) fn add_sending(open: &mut Open, sending: Sending, probed: Probed) {
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
    let place = open.places.first();
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
pub(super) fn returned(open: &mut Open, end: u64, cpu: u16) {
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
