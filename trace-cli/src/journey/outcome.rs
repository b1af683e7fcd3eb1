//! How a journey ended.

use trace_ebpf::Hook;

use super::flow::{is_echo_reply, is_udp, is_unicast};
use super::model::{Outcome, TcpSegment, Unfinished};
use super::open::{Open, Side};
use super::point::{AT_SOCKET, Point, Points};
use super::probed::Probed;

/// Taken by the transport protocol as a whole packet.
const TAKEN: Points = Points::of(&[
    Point::Transport,
    Point::TcpSocket,
    Point::TcpBacklog,
    Point::Queued,
    Point::Copy,
]);
/// Given to a driver.
const AT_DRIVER: Points = Points::of(&[Point::StartXmit, Point::XmitDone]);

/// Given to a device.
const AT_DEVICE: Points = Points::of(&[Point::DevQueue, Point::QdiscEnqueue, Point::QdiscDequeue]);

/// `consume_skb`: the packet was freed after use. By whom is what it passed before.
pub(super) fn consumed(open: &Open, probed: Probed) -> Outcome {
    match open.side {
        // skb_consume_udp, skb_free_datagram: by the reader. Without a copy, too: recvmsg() that verifies
        // the checksum while copying (skb_copy_and_csum_datagram_msg) passes no tracepoint.
        Side::Receive if open.seen.has(Point::Copy) => Outcome::Delivered,
        Side::Receive if open.seen.meets(AT_SOCKET) && !open.is_bare_tcp() => Outcome::Delivered,
        // A datagram for one host that reached UDP is dropped or read, nothing else: __udp4_lib_rcv consumes only
        // multicast that nobody asked for. That it was queued can have gone unseen.
        Side::Receive if open.passed_transport() && is_datagram(open) => Outcome::Delivered,
        // icmp_rcv, arp_process, tcp_rcv_state_process: by the kernel itself.
        Side::Receive => Outcome::Consumed,
        // The driver's transmit completion.
        Side::Transmit if open.seen.meets(AT_DRIVER) => Outcome::Sent,
        Side::Forward if open.seen.meets(AT_DRIVER) => Outcome::Forwarded,
        // What needs no segmentation leaves the device layer by the driver alone, even when the driver's own
        // stamp is missing (the kernel skips a program that would interrupt itself).
        Side::Transmit if left_by_a_device(open, probed) => Outcome::Sent,
        Side::Forward if left_by_a_device(open, probed) => Outcome::Forwarded,
        // validate_xmit_skb after segmentation, ip_do_fragment: its parts go on.
        Side::Transmit | Side::Forward => Outcome::Consumed,
    }
}

/// Whether it was given to a device in one piece, or in parts that nobody would see where drivers are not looked at.
fn left_by_a_device(open: &Open, probed: Probed) -> bool {
    const FRAME: u32 = 1514;
    open.seen.meets(AT_DEVICE) && (open.len <= FRAME || !probed.has(Hook::StartXmit))
}

/// `kfree_skb`, with what its record says. An echo reply that a raw socket took (ping) is cloned for it
/// (`raw_v4_input`), and the original dropped by `icmp_rcv`, for nobody else wants it: the data lives on,
/// nothing was lost.
///
/// A FIN without payload waits in its socket's receive queue until the reader is told of the end, or closes
/// the socket, which purges the queue (`inet_csk_destroy_sock` → `sk_stream_kill_queues`): that is how a FIN
/// ends, not a loss. `purged` is what the reason says of that; on kernels whose reasons do not tell, an
/// established socket that took the FIN is enough.
pub(super) fn dropped(open: &Open, shared: bool, purged: Option<bool>) -> Outcome {
    let purged = is_bare_fin(open)
        && open.passed_transport()
        && purged.unwrap_or_else(|| open.seen.has(Point::TcpSocket));
    let taken = shared && open.passed_transport() && open.current_flow().is_some_and(is_echo_reply);
    if taken || purged {
        Outcome::Consumed
    } else {
        Outcome::Dropped
    }
}

/// Nothing more was heard, or its address became another packet's: what ends unseen, and what does not.
pub(super) fn silent(open: &Open, why: Unfinished) -> Outcome {
    if ends_unseen(open) {
        return Outcome::Consumed;
    }
    // Without socket records a TCP copy is all that shows the reading; what follows is __kfree_skb. A datagram's
    // address can be another packet's before the recv() that read it returns (skb_attempt_defer_free, 7.0).
    if (open.is_tcp() || is_datagram(open))
        && open.side == Side::Receive
        && open.seen.has(Point::Copy)
    {
        return Outcome::Delivered;
    }
    // A fragment that was swallowed by reassembly (ip_frag_reasm); one whose rest never came is dropped,
    // visibly.
    // IPv6 puts packets together behind netfilter's INPUT (ipv6_frag_rcv).
    if open.is_fragment() && open.side == Side::Receive && !open.seen.meets(TAKEN) {
        return Outcome::Consumed;
    }
    Outcome::Unfinished(why)
}

/// A TCP segment without payload that reached its socket: tcp_ack uses it, and __kfree_skb frees it.
pub(super) fn ends_unseen(open: &Open) -> bool {
    open.is_bare_tcp() && open.passed_transport()
}

/// As [`ends_unseen`], and soon: not a FIN, which is kept until the socket is closed, and not what lies in the backlog of a
/// socket that a thread has in use: `tcp_probe` is passed when that is done (`release_sock`).
pub(super) fn ends_soon(open: &Open) -> bool {
    let backlogged = open.seen.has(Point::TcpBacklog) && !open.seen.has(Point::TcpSocket);
    ends_unseen(open) && !is_bare_fin(open) && !backlogged
}

fn is_datagram(open: &Open) -> bool {
    open.current_flow()
        .is_some_and(|flow| is_udp(flow) && is_unicast(flow))
}

fn is_bare_fin(open: &Open) -> bool {
    let fin = |tcp: TcpSegment| tcp.payload == 0 && tcp.flags & 1 != 0;
    open.flow.and_then(|flow| flow.tcp).is_some_and(fin)
}
