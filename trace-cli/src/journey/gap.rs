//! What lies between two consecutive stamps that nobody stamped: a *gap*, where the kernel shows no hook that the packet must
//! have passed, or a *loss*, where it does show it.

use trace_ebpf::Hook;

use super::open::{Open, Stamp};
use super::point::{ARRIVAL, OUTBOUND, Point, TRANSPORT};
use super::probed::Probed;
use super::stages::read_at;

/// A hook that packets for a socket cannot go round.
struct Station {
    point: Point,
    hook: Hook,
}

const IN: &[Station] = &[
    Station {
        point: Point::Receive,
        hook: Hook::Receive,
    },
    Station {
        point: Point::Ip,
        hook: Hook::Ip,
    },
    Station {
        point: Point::Transport,
        hook: Hook::Transport,
    },
    Station {
        point: Point::Queued,
        hook: Hook::Queued,
    },
];

/// Whether a hook that the packet must have passed between two stamps left none.
pub(super) fn is_gap(open: &Open, from: &Stamp, to: &Stamp, probed: Probed) -> bool {
    if from.leg != to.leg {
        // The driver that passed it on was not looked at, or its way to the poll.
        return arrival_lost(to)
            || OUTBOUND.has(from.point)
                && from.point < Point::StartXmit
                && !probed.has(Hook::StartXmit)
            || from.point == Point::StartXmit
                && to.point == Point::Receive
                && !probed.has(Hook::Backlog);
    }
    let (a, b) = (from.point, to.point);
    let inward = a <= Point::RecvDone;
    match b {
        _ if inward && (TRANSPORT.has(b) || b == Point::RecvDone) => {
            swallowed_on_the_way_in(open, a, b, probed)
        }
        Point::Consume if inward && TRANSPORT.has(a) && a < Point::Queued && read_at(open, b) => {
            true
        }
        // Ended on the way in: where that was is not known if nobody looks further along.
        Point::Consume | Point::Drop if inward && a >= Point::Receive && a < Point::Queued => {
            open.flow.is_some() && unprobed_in(a, Point::Copy, probed) && !bookend(a)
        }
        _ if inward && b <= Point::RecvDone => match (a, b) {
            (Point::Receive, Point::PreEnter) => false,
            (Point::Receive | Point::Classify | Point::XdpGeneric, _) if b > Point::Ip => {
                !probed.has(Hook::Ip)
            }
            (Point::Backlog | Point::Gro | Point::GroDone, _) if b > Point::Receive => true,
            // The wait for the softirq, and what its poll did first.
            (Point::Backlog, _) => !probed.has(Hook::Softirq),
            _ => false,
        },
        // Through: forwarded by IP or by a bridge.
        _ if inward && OUTBOUND.has(b) => a < Point::Receive || out_swallowed(open, a, b, probed),
        _ if !inward => out_swallowed(open, a, b, probed),
        _ => false,
    }
}

/// The first stamp of a leg is none that a packet arrives by.
fn arrival_lost(first: &Stamp) -> bool {
    !ARRIVAL.has(first.point) && !first.point.is_poll_context()
}

/// Stamps of netfilter's ends, which say exactly where the packet was without the hooks around them.
const fn bookend(point: Point) -> bool {
    matches!(
        point,
        Point::PreEnter | Point::InEnter | Point::InLeave | Point::FwdEnter
    )
}

fn unprobed_in(a: Point, b: Point, probed: Probed) -> bool {
    IN.iter()
        .any(|s| a < s.point && s.point < b && !probed.has(s.hook) && s.point != Point::Queued)
}

fn swallowed_on_the_way_in(open: &Open, a: Point, b: Point, probed: Probed) -> bool {
    match (a, b) {
        // The copying was not seen (copy_linear_skb has no tracepoint): the wait holds it.
        (Point::Queued | Point::Wakeup | Point::TcpBacklog, Point::RecvDone) => return true,
        // By what lies between the bookends.
        (Point::Receive, Point::PreEnter) if !probed.has(Hook::Ip) => return false,
        (Point::PreLeave | Point::Deliver, Point::InEnter | Point::InLeave) => return false,
        (Point::InLeave, b) if b <= Point::Queued => return false,
        // Out-of-order data is queued without sk_data_ready.
        (Point::TcpSocket | Point::TransportDone | Point::Transport, Point::Copy)
            if open.is_tcp() =>
        {
            return false;
        }
        _ => {}
    }
    // ip_local_deliver: what is before it is no longer what its name says.
    let delivers = a < Point::Deliver && b >= Point::Transport && !probed.has(Hook::Deliver);
    delivers || missing(open, a, b).next().is_some()
}

/// The stations between two points: passed, and not stamped.
fn missing(open: &Open, a: Point, b: Point) -> impl Iterator<Item = &'static Station> {
    let queue_unseen = open.is_tcp() || b == Point::TransportDone;
    IN.iter()
        .filter(move |s| s.point != Point::Queued || !queue_unseen)
        .filter(move |s| a < s.point && s.point < b)
}

/// Whether stamps are missing between two that this kernel does show.
pub(super) fn is_loss(open: &Open, from: &Stamp, to: &Stamp, probed: Probed) -> bool {
    if from.leg != to.leg {
        return arrival_lost(to);
    }
    let (a, b) = (from.point, to.point);
    let at_socket = b == Point::Queued || b == Point::Copy || b == Point::RecvDone;
    at_socket
        && a < Point::Queued
        && is_gap(open, from, to, probed)
        && missing(open, a, b).any(|s| probed.has(s.hook))
}

/// Whether a hook on the way out was passed that this kernel does not show. Hooks that are probed and
/// left no stamp were not passed: packet sockets begin at the device, netfilter's flow table skips IP.
fn out_swallowed(open: &Open, a: Point, b: Point, probed: Probed) -> bool {
    let passes = |point: Point, hook: Hook| a < point && point < b && !probed.has(hook);
    let sends = a >= Point::Send;
    let tcp = sends && open.is_tcp();
    match (a, b) {
        // In the driver already, where nobody looks.
        (_, Point::Consume | Point::Drop) => {
            a >= Point::DevQueue && a < Point::StartXmit && !probed.has(Hook::StartXmit)
        }
        (Point::OutLeave | Point::FwdLeave, Point::PostEnter) => false,
        (Point::PostLeave, Point::DevQueue) => false,
        _ => {
            // A thread that loses its CPU right after __ip_local_out finds its note of that on none: what is looked at by
            // OUTPUT came by there all the same.
            let noted =
                sends && a < Point::IpOutput && matches!(b, Point::OutEnter | Point::OutLeave);
            let unseen = passes(Point::SocketWrite, Hook::SocketWrite)
                || passes(Point::Neighbour, Hook::Neighbour)
                || passes(Point::IpOutput, Hook::IpOutput);
            noted
                || sends && unseen
                || tcp && passes(Point::TcpTransmit, Hook::TcpTransmit)
                || passes(Point::DevQueue, Hook::DevQueue) && b != Point::Neighbour
                || b == Point::XmitDone && a != Point::StartXmit && !probed.has(Hook::StartXmit)
                || b == Point::QdiscDequeue
                    && a != Point::QdiscEnqueue
                    && !probed.has(Hook::QdiscEnqueue)
        }
    }
}
