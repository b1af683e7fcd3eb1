//! A journey that is being put together: stamps in compact form, and what identity has to know.

use std::mem::take;

use strum::FromRepr;

use super::flow::{is_tcp, same_addresses, sequence_length};
use super::model::{Drop, Flow, JourneyId, Link, Outcome, Poll};
use super::places::{NOWHERE, Place, Places};
use super::point::{OUTBOUND, Point, Points, TRANSPORT};

/// Stamps kept of one journey. No path through the kernel has half as many; a packet that circles
/// (stacked tunnels, repeated MSG_PEEK) must not grow without bound.
const MAX_STAMPS: usize = 192;
const MAX_LEGS: u8 = 250;

/// One packet passing one point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    pub time: u64,
    pub cpu: u16,
    pub point: Point,
    pub leg: u8,
    /// Index into [`Open::places`].
    pub place: u8,
    /// GroDone: the result. Wakeup: index into [`Open::woken`]. XmitDone: the return code.
    pub arg: u8,
}

/// What the current leg is so far.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, FromRepr, Debug)]
pub(super) enum Side {
    Receive,
    Transmit,
    Forward,
}

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// More is to come.
    Open,
    /// It ended then; what is later does not belong to it. It waits for late parts.
    Ended { outcome: Outcome, time: u64 },
}

/// What few journeys have.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Extra {
    pub rewrites: Vec<Flow>,
    pub links: Vec<Link>,
    pub drop: Option<Drop>,
    pub polls: Vec<(u8, Poll)>,
}

/// In this order: what each stamp asks lies together, then what each segment asks.
#[derive(PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct Open {
    pub id: JourneyId,
    pub state: State,
    /// Points of the current leg.
    pub seen: Points,
    /// Points of the whole journey.
    pub ever: Points,
    /// The last point that the packet itself passed, when, and on which CPU.
    pub last: Option<(Point, u64, u16)>,
    pub side: Side,
    pub leg: u8,
    /// Where the current leg was last seen: index into [`Open::places`], [`NOWHERE`] before its first stamp.
    pub at: u8,
    /// Stacked devices or tunnels were seen: the headers may change altogether.
    pub tunnel: bool,
    /// It waits in [`super::sockets`] for its bytes to be read.
    pub waits: bool,
    /// It was counted among its socket's datagrams.
    pub datagram: bool,
    /// Its sent range is known to [`super::sockets`].
    pub registered: bool,
    /// TCP sent its bytes before.
    pub retransmitted: bool,
    pub stamps: Vec<Stamp>,
    pub places: Places,

    /// The receiving socket.
    pub sk_in: u64,
    /// The sending socket.
    pub sk_out: u64,
    /// [`super::connections`] knows its sockets.
    pub told_in: bool,
    pub told_out: bool,
    /// It began on its way out.
    pub sent_here: bool,
    pub partial: bool,
    pub sender: u32,
    pub receiver: u32,
    /// The first threads woken for it.
    pub woken: [u32; 2],
    pub flow: Option<Flow>,
    pub extra: Option<Box<Extra>>,

    pub head: u64,
    pub len: u32,
    pub ether_type: u16,
}

impl Open {
    /// A journey of which nothing is known yet but how it begins.
    pub(super) fn new(id: JourneyId, side: Side, stamps: Vec<Stamp>) -> Self {
        Self {
            id,
            state: State::Open,
            seen: Points::default(),
            ever: Points::default(),
            last: None,
            side,
            leg: 0,
            at: NOWHERE,
            tunnel: false,
            waits: false,
            datagram: false,
            registered: false,
            retransmitted: false,
            stamps,
            places: Places::default(),
            sk_in: 0,
            sk_out: 0,
            told_in: false,
            told_out: false,
            sent_here: side == Side::Transmit,
            partial: false,
            sender: 0,
            receiver: 0,
            woken: [0; 2],
            flow: None,
            extra: None,
            head: 0,
            len: 0,
            ether_type: 0,
        }
    }

    /// Gives up all the memory that it has beside itself; that of its stamps can be used again.
    pub(super) fn leave(&mut self) -> Vec<Stamp> {
        self.places = Places::default();
        self.extra = None;
        take(&mut self.stamps)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn place(&self, stamp: &Stamp) -> Place {
        self.places.get(stamp.place)
    }

    /// Where the current leg was last seen.
    pub(super) fn current_place(&self) -> Place {
        self.places.get(self.at)
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn link(&mut self, link: Link) {
        if link.journey != self.id && !self.extra().links.contains(&link) {
            self.extra().links.push(link);
        }
    }

    /// Its headers as they are now: after all rewrites.
    pub(super) fn current_flow(&self) -> Option<&Flow> {
        self.extra
            .as_ref()
            .and_then(|e| e.rewrites.last())
            .or(self.flow.as_ref())
    }

    /// Learns headers seen on the way.
    pub(super) fn see_flow(&mut self, flow: &Flow) {
        match self.current_flow() {
            None => self.flow = Some(*flow),
            Some(known) if same_addresses(known, flow) => {}
            Some(_) => {
                if self.extra().rewrites.len() < 16 {
                    self.extra().rewrites.push(*flow);
                }
            }
        }
    }

    /// Sequence range of a TCP segment: first and length, with payload, SYN and FIN.
    pub(super) fn tcp_range(&self) -> Option<(u32, u32)> {
        let tcp = self.flow.as_ref()?.tcp?;
        Some((tcp.seq, sequence_length(&tcp)))
    }

    pub(super) fn tcp_payload(&self) -> Option<u32> {
        Some(self.flow.as_ref()?.tcp?.payload)
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.flow.as_ref().is_some_and(is_tcp)
    }

    /// A TCP segment that nobody will ever read: ACK, SYN, FIN, RST.
    pub(super) fn is_bare_tcp(&self) -> bool {
        self.tcp_payload() == Some(0)
    }

    /// First sequence number and length of what a TCP segment has for a reader, if anything.
    pub(super) fn tcp_data(&self) -> Option<(u32, u32)> {
        let tcp = self.flow.as_ref()?.tcp?;
        (tcp.payload > 0).then_some((tcp.seq, tcp.payload))
    }

    /// A part of an IP packet that waits for the rest.
    pub(super) fn is_fragment(&self) -> bool {
        self.flow.as_ref().is_some_and(|f| f.fragment.is_some())
    }

    pub(super) fn passed_transport(&self) -> bool {
        self.side == Side::Receive && self.seen.meets(TRANSPORT)
    }

    /// Begins the next leg.
    pub(super) fn turn(&mut self, side: Side) {
        if self.leg < MAX_LEGS {
            self.leg += 1;
            self.at = NOWHERE;
        }
        self.side = side;
        self.seen = Points::default();
    }

    /// Whether this very stamp is known.
    pub(super) fn has_stamp(&self, point: Point, time: u64) -> bool {
        self.stamps
            .iter()
            .any(|s| s.point == point && s.time == time)
    }

    /// Takes a stamp into leg `leg`. A stamp that is there already (context that the kernel side gave to
    /// two segments of the packet) is not taken twice.
    pub(super) fn stamp(&mut self, mut stamp: Stamp, place: Place) {
        let same = |s: &Stamp| (s.point, s.time, s.leg) == (stamp.point, stamp.time, stamp.leg);
        if self.ever.has(stamp.point) && self.stamps.iter().any(same) {
            return;
        }
        self.ever.insert(stamp.point);
        if stamp.leg == self.leg {
            self.seen.insert(stamp.point);
        }
        if !self.has_room(stamp.point) {
            return;
        }
        stamp.place = self.places.index(place);
        if stamp.leg == self.leg {
            self.at = stamp.place;
        }
        self.stamps.push(stamp);
    }

    /// A journey grows past the limit only by the few stamps that end it.
    fn has_room(&self, point: Point) -> bool {
        let ends = matches!(point, Point::Consume | Point::Drop | Point::RecvDone);
        self.stamps.len() < MAX_STAMPS || ends && self.stamps.len() < MAX_STAMPS + 8
    }

    /// Takes a stamp of the packet itself, where it is already, on the way that it is on ([`super::identity::ahead`]).
    pub(super) fn next_stamp(&mut self, point: Point, time: u64, cpu: u16, arg: u8) {
        self.ever.insert(point);
        self.seen.insert(point);
        if self.has_room(point) {
            self.stamps.push(Stamp {
                time,
                cpu,
                point,
                leg: self.leg,
                place: self.at,
                arg,
            });
        }
        self.last = Some((point, time, cpu));
    }

    /// Takes a stamp of the packet itself into the current leg.
    pub(super) fn own_stamp(&mut self, point: Point, time: u64, cpu: u16, place: Place, arg: u8) {
        if self.side == Side::Receive
            && (OUTBOUND.has(point)
                || matches!(point, Point::Forward | Point::FwdEnter | Point::FwdLeave))
        {
            self.side = Side::Forward;
        }
        let leg = self.leg;
        self.stamp(
            Stamp {
                time,
                cpu,
                point,
                leg,
                place: 0,
                arg,
            },
            place,
        );
        self.last = Some((point, time, cpu));
    }

    /// When it passed this point last.
    pub(super) fn last_time_of(&self, point: Point) -> Option<u64> {
        let stamp = self.stamps.iter().rev().find(|s| s.point == point);
        stamp.map(|s| s.time)
    }

    pub(super) fn first_time(&self) -> u64 {
        self.stamps.iter().map(|s| s.time).min().unwrap_or(0)
    }

    pub(super) fn last_time(&self) -> u64 {
        self.stamps.iter().map(|s| s.time).max().unwrap_or(0)
    }

    /// When the packet was given to the receiving socket, as far as is known.
    pub(super) fn at_socket(&self) -> Option<u64> {
        self.stamps
            .iter()
            .filter(|s| {
                s.leg == self.leg
                    && TRANSPORT.has(s.point)
                    && !matches!(s.point, Point::TransportDone | Point::Wakeup | Point::Copy)
            })
            .map(|s| s.time)
            .max()
    }

    /// The earliest time at which its socket may have had it, in its current leg: when its transport took it. Where nothing before
    /// `sk_data_ready` is probed there, which a reader on another CPU can be faster than, when it was seen last before that.
    pub(super) fn readable_since(&self) -> Option<u64> {
        let here = || self.stamps.iter().filter(|s| s.leg == self.leg);
        let first = here()
            .filter(|s| TRANSPORT.has(s.point))
            .min_by_key(|s| s.time)?;
        if first.point != Point::Queued {
            return Some(first.time);
        }
        let before = here().filter(|s| !TRANSPORT.has(s.point) && s.time <= first.time);
        before.map(|s| s.time).max().or(Some(first.time))
    }

    pub(super) fn end(&mut self, outcome: Outcome, time: u64) {
        self.state = State::Ended { outcome, time };
    }

    /// No `recv()` that returned has claimed it.
    pub(super) fn receiver_free(&self) -> bool {
        !self.ever.has(Point::RecvDone)
    }

    /// Its end; what is later does not belong to it.
    pub(super) fn end_time(&self) -> u64 {
        match self.state {
            State::Ended { time, .. } => time,
            State::Open => u64::MAX,
        }
    }

    /// Whether this stamp is the wake-up of the thread that read it.
    pub(super) fn woke_reader(&self, wakeup: &Stamp) -> bool {
        self.receiver != 0 && self.woken.get(usize::from(wakeup.arg)) == Some(&self.receiver)
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Open => None,
            State::Ended { outcome, .. } => Some(outcome),
        }
    }
}
