//! Is this still the same packet?
//!
//! The kernel side names packets by the address of their sk_buff. That is an identity only while the
//! sk_buff lives, and not every end can be seen: `__kfree_skb` has no tracepoint, and TCP uses it for
//! pure ACKs and for data that was read (`tcp_rcv_established`, `tcp_eat_skb`), GRO for what it
//! merged. The next packet is then likely to get the very same address, from the same CPU's cache.
//!
//! So each stamp is judged: can the packet that was last seen *there* now be seen *here*? A packet goes
//! one way: in through the device, IP and transport, or out through IP, qdisc and driver, and round
//! again only by being handed to another device. What cannot be a continuation begins a new life.
//! The first stamp of a segment comes with the packet's headers, which decide where the order leaves it
//! open. The doubt that remains: a packet that ended unseen and whose address was taken by one of the
//! same flow, further along the same way, without headers in its segment.

use super::flow::{can_carry_packets, may_be_same_packet, same_addresses};
use super::model::Flow;
use super::open::{Open, Side, State};
use super::places::{NOWHERE, Place};
use super::point::{
    ARRIVAL, AT_SOCKET, BEGINNINGS, INBOUND, LOCAL_OUTPUT, OUTBOUND, Point, Points, SENDING,
    TRAILING, TRANSPORT,
};

/// What a stamp is to the journey whose address it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Of the current leg.
    Continues,
    /// It passed into the next network namespace, or back into this one.
    NextLeg,
    /// Another packet.
    NewLife,
    /// It belongs to the journey, but says nothing.
    Trails,
}

/// A stamp to be judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub point: Point,
    pub time: u64,
    pub cpu: u16,
    pub place: Place,
    /// The headers, at a segment's first stamp.
    pub flow: Option<&'a Flow>,
    /// `skb->head` at the segment's beginning; 0 when not known.
    pub head: u64,
    /// Its record came after its time.
    pub late: bool,
}

/// Longest time that one CPU spends between two hooks of one packet in one function call.
const AT_ONCE_NS: u64 = 1_000_000;

const GIVEN: Points = Points::of(&[Point::StartXmit, Point::XmitDone]);

const ENDS: Points = Points::of(&[Point::Consume, Point::Drop]);
/// What a packet passes on its way in, once it arrived, whatever becomes of it; but not where it is found to be none for here.
const WAY_IN: Points = Points::of(&[Point::Receive])
    .and(INBOUND)
    .and(TRANSPORT)
    .and(ENDS)
    .without(Points::of(&[
        Point::Forward,
        Point::FwdEnter,
        Point::FwdLeave,
    ]));
/// … and on its way out, but not what trails behind it.
const WAY_OUT: Points = LOCAL_OUTPUT
    .and(OUTBOUND)
    .and(ENDS)
    .without(Points::of(&[Point::XmitDone]));

/// Where a packet that is at this place would go on without any doubt: a stamp there without headers is the next one on the way that
/// the packet is on. So are most: what else they could be is not looked at. [`judge`] would say that it continues.
pub(super) fn ahead(open: &Open, said: Place) -> Points {
    if !open.is_open() || open.at == NOWHERE || open.current_place() != said {
        return Points::default();
    }
    let way = match open.side {
        Side::Receive => WAY_IN,
        Side::Transmit | Side::Forward => WAY_OUT,
    };
    way.without(open.ever).behind(open.seen)
}

/// What `sight` is to `open`.
pub(super) fn judge(open: &Open, sight: &Sight<'_>) -> Verdict {
    if let State::Ended { time, .. } = open.state {
        return ended(open, sight, time);
    }
    if open.stamps.is_empty() {
        return Verdict::Continues;
    }
    let point = sight.point;
    let same = match (open.current_flow(), open.flow.as_ref(), sight.flow) {
        (Some(now), Some(first), Some(seen)) => {
            may_be_same_packet(now, seen) || may_be_same_packet(first, seen)
        }
        _ => true,
    };
    match point {
        Point::Consume | Point::Drop | Point::RecvDone => Verdict::Continues,
        Point::XmitDone => given_back(open, sight),
        // napi_gro_receive returns: after the whole way in, when it did not put the packet on a list.
        Point::GroDone if open.seen.has(Point::Gro) && open.side == Side::Receive => {
            Verdict::Continues
        }
        Point::TransportDone if open.side == Side::Receive => Verdict::Continues,
        Point::GroDone | Point::TransportDone => Verdict::Trails,
        // The thread's context comes with every segment that begins on the way out.
        _ if SENDING.has(point) && open.has_stamp(point, sight.time) => Verdict::Trails,
        _ if SENDING.has(point) => {
            // TCP sends clones from the second half of an fclone pair (skb_clone): a retransmission has
            // the address of the transmission before.
            let later = point == Point::TcpTransmit && open.seen.has(Point::TcpTransmit);
            if open.side == Side::Transmit && open.seen.within(SENDING) && !later {
                Verdict::Continues
            } else {
                Verdict::NewLife
            }
        }
        _ if LOCAL_OUTPUT.has(point) => local_output(open, sight, same),
        _ if ARRIVAL.has(point) => arrival(open, sight, same),
        // A classifier runs on both ways.
        Point::Classify if open.side != Side::Receive => keep(same || open.tunnel),
        _ if INBOUND.has(point) => match open.side {
            Side::Receive if open.seen.meets(TRANSPORT) && point < Point::Deliver => {
                // Only a decapsulated packet meets IP again (xfrm, IPIP).
                keep(sight.flow.is_none() || same || carries(open))
            }
            Side::Receive | Side::Forward if sight.place.netns == open.current_place().netns => {
                keep(same || carries(open) || open.tunnel)
            }
            // Its arrival in the next namespace was lost.
            _ => next_leg(same || open.tunnel),
        },
        _ if TRANSPORT.has(point) => match open.side {
            Side::Receive => keep(same || carries(open)),
            Side::Transmit | Side::Forward => next_leg(same || open.tunnel),
        },
        _ if OUTBOUND.has(point) => match open.side {
            Side::Receive if open.seen.meets(TRANSPORT) => Verdict::NewLife,
            // From the way in straight to the way out: routed, with a lower time to live, or bridged, to
            // another device. Else it is another packet of the flow at the address of one that ended unseen.
            Side::Receive if !turns(open, sight) => Verdict::NewLife,
            _ => {
                keep(same || open.tunnel || open.seen.meets(GIVEN) || fragmented_anew(open, sight))
            }
        },
        _ => keep(same),
    }
}

/// The journey ended at `end`. What comes in order and can begin a life does so, even if it is older than
/// the end: a `recv()` is known to return later than it frees, and `send()` begins before it allocates.
fn ended(open: &Open, sight: &Sight<'_>, end: u64) -> Verdict {
    let inside = sight.time <= end && sight.time >= open.first_time();
    let same = match (open.current_flow(), sight.flow) {
        (Some(known), Some(seen)) => may_be_same_packet(known, seen),
        _ => true,
    };
    if TRAILING.has(sight.point) && !inside {
        Verdict::Trails
    } else if inside && same && (sight.late || !BEGINNINGS.has(sight.point)) {
        Verdict::Continues
    } else {
        Verdict::NewLife
    }
}

fn keep(same: bool) -> Verdict {
    if same {
        Verdict::Continues
    } else {
        Verdict::NewLife
    }
}

/// Whether a packet on its way in can be on its way out.
fn turns(open: &Open, sight: &Sight<'_>) -> bool {
    let place = open.current_place();
    let routed = match (open.current_flow(), sight.flow) {
        (Some(before), Some(now)) => now.ttl < before.ttl,
        // Inside one segment: the slot was never given up.
        (_, None) => true,
        (None, Some(_)) => false,
    };
    routed
        || sight.place.ifindex != place.ifindex
            && sight.place.netns == place.netns
            && at_once(open, sight)
}

/// On the CPU that has the packet, while it has it.
fn at_once(open: &Open, sight: &Sight<'_>) -> bool {
    open.last.is_some_and(|(_, time, cpu)| {
        cpu == sight.cpu && sight.time.saturating_sub(time) < AT_ONCE_NS
    })
}

/// A router whose connection tracking put IPv6 fragments together takes them apart again, with another identification
/// (`ip6_fragment`).
fn fragmented_anew(open: &Open, sight: &Sight<'_>) -> bool {
    let fragments = match (open.current_flow(), sight.flow) {
        (Some(before), Some(now)) => {
            now.source.is_ipv6()
                && before.fragment.is_some()
                && now.fragment.is_some()
                && same_addresses(before, now)
        }
        _ => false,
    };
    fragments && open.side == Side::Forward && at_once(open, sight)
}

fn next_leg(same: bool) -> Verdict {
    if same {
        Verdict::NextLeg
    } else {
        Verdict::NewLife
    }
}

/// It holds another packet, which may come out here.
fn carries(open: &Open) -> bool {
    open.current_flow().is_some_and(can_carry_packets)
}

/// `net_dev_xmit` comes when the driver returns, on the CPU that called it. By then the packet can be in
/// the next namespace, read, freed, or its address another packet's: only straight after the call is
/// it sure to be meant.
fn given_back(open: &Open, sight: &Sight<'_>) -> Verdict {
    match open.last {
        Some((Point::StartXmit, time, cpu)) if cpu == sight.cpu && time <= sight.time => {
            Verdict::Continues
        }
        _ => Verdict::Trails,
    }
}

/// `__ip_local_out` and netfilter's OUTPUT: the beginning of a packet, or a tunnel device sending what
/// it was given (`ip_tunnel_xmit` → `ip_local_out`), with other headers, on the same CPU.
fn local_output(open: &Open, sight: &Sight<'_>, same: bool) -> Verdict {
    if open.side == Side::Receive {
        return Verdict::NewLife;
    }
    if open.seen.meets(GIVEN) {
        let inside = open.last.is_some_and(|(_, _, cpu)| cpu == sight.cpu);
        let wrapped = match (open.current_flow(), sight.flow) {
            (Some(before), Some(now)) => !may_be_same_packet(before, now) && can_carry_packets(now),
            // Inside one segment: the slot was never given up.
            _ => true,
        };
        return keep(inside && wrapped);
    }
    // Passed already, by the same hook: xfrm sends the packet through again with an outer header.
    if open.seen.has(sight.point) && sight.flow.is_some() {
        return keep(!same && sight.flow.is_some_and(can_carry_packets));
    }
    keep(same)
}

/// Whether a driver built this packet anew, at the address of one that was sent and freed unseen. The other end of
/// a veth pair that polls (NAPI) gets the sk_buff itself, but is another device, and the data is the same.
fn from_a_card(open: &Open, sight: &Sight<'_>) -> bool {
    let place = open.current_place();
    let same_device = place.netns == sight.place.netns && place.ifindex == sight.place.ifindex;
    let other_data = sight.head != 0 && open.head != 0 && sight.head != open.head;
    sight.point == Point::Gro && (same_device || other_data && !at_once(open, sight))
}

/// `napi_gro_receive`, `netif_rx`, `netif_receive_skb`.
fn arrival(open: &Open, sight: &Sight<'_>, same: bool) -> Verdict {
    let place = open.current_place();
    match open.side {
        // veth_xmit and loopback_xmit hand the sk_buff itself to the receiving side.
        Side::Transmit | Side::Forward if from_a_card(open, sight) => Verdict::NewLife,
        Side::Transmit | Side::Forward => next_leg(same || open.tunnel),
        Side::Receive if place.netns != sight.place.netns && place.netns != 0 => {
            // macvlan, ipvlan: the device of another namespace takes it over on the way in.
            if open.seen.meets(TRANSPORT) {
                Verdict::NewLife
            } else {
                next_leg(same && at_once(open, sight))
            }
        }
        Side::Receive if place.ifindex != sight.place.ifindex => {
            // Bridge, bond, VLAN: netif_receive_skb again with the upper device. Tunnels: the inner packet
            // comes out of the tunnel device (gro_cells_receive), after the outer one reached its
            // transport.
            if open.seen.meets(AT_SOCKET) {
                Verdict::NewLife
            } else if open.seen.meets(TRANSPORT) {
                keep(carries(open))
            } else {
                keep(same || carries(open) || open.tunnel)
            }
        }
        Side::Receive => {
            // The same device: only further along (GRO → backlog → receive), never twice.
            let again = open.seen.has(sight.point)
                || open.seen.meets(TRANSPORT)
                || open.seen.meets(INBOUND)
                || open.seen.has(Point::Receive)
                || (sight.point == Point::Gro && open.seen.has(Point::Backlog));
            keep(!again && same)
        }
    }
}
