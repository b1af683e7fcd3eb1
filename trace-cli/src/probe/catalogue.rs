//! The hooks, as data: where each can be attached on which kernel, and what is lost without it.
//!
//! To add a hook: a [`Hook`] in the wire format, its body in `trace-ebpf/src/hooks`, a line for it
//! in `trace-ebpf/src/main.rs`, a row here, and its stage in `journey::stages`.

use trace_ebpf::Hook;

use crate::journey::stage::StageName;

/// A place in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A tracepoint, by name.
    Tracepoint(&'static str),
    /// A function's entry.
    Function(&'static str),
    /// A function's return.
    Return(&'static str),
}

impl Target {
    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(name) | Self::Function(name) | Self::Return(name) => name,
        }
    }
}

/// One row: a hook and its places.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name in the attach plan; programs are called `NAME_KIND`.
    pub name: &'static str,
    /// The stamp it takes; `None` for facts of the CPU or of a socket call.
    pub stamp: Option<Hook>,
    /// Alternatives, best first. Of an alternative every target is attached that exists; the first alternative
    /// of which at least one target could be attached is taken.
    pub alternatives: &'static [&'static [Target]],
    /// The stages that need it.
    pub stages: &'static [StageName],
    /// Still useful when only drops are asked for.
    pub drops: bool,
}

use StageName as S;
use Target::{Function as F, Return as R, Tracepoint as T};

const fn row(
    name: &'static str,
    stamp: Option<Hook>,
    alternatives: &'static [&'static [Target]],
    stages: &'static [StageName],
) -> Spec {
    Spec {
        name,
        stamp,
        alternatives,
        stages,
        drops: false,
    }
}

/// Every hook, in a packet's order.
pub const CATALOGUE: &[Spec] = &[
    row(
        "irq_entry",
        Some(Hook::Interrupt),
        &[&[T("irq_handler_entry")]],
        &[S::Interrupt],
    ),
    row(
        "irq_exit",
        None,
        &[&[T("irq_handler_exit")]],
        &[S::Interrupt],
    ),
    row(
        "softirq_raise",
        Some(Hook::NapiSchedule),
        &[&[T("softirq_raise")]],
        &[S::NapiSchedule],
    ),
    // which interrupt scheduled which NAPI; without it, what the CPU saw last
    row(
        "napi_schedule",
        Some(Hook::NapiSchedule),
        &[&[F("__napi_schedule"), F("__napi_schedule_irqoff")]],
        &[S::NapiSchedule],
    ),
    row(
        "softirq_entry",
        Some(Hook::Softirq),
        &[&[T("softirq_entry")]],
        &[S::Softirq],
    ),
    row("softirq_exit", None, &[&[T("softirq_exit")]], &[]),
    row("poll_begin", Some(Hook::Poll), &[&[F("__napi_poll")]], &[]),
    row(
        "napi_poll",
        Some(Hook::Poll),
        &[&[T("napi_poll")]],
        &[S::NapiPoll],
    ),
    row(
        "gro",
        Some(Hook::Gro),
        &[&[T("napi_gro_receive_entry"), T("napi_gro_frags_entry")]],
        &[S::Gro],
    ),
    row(
        "gro_done",
        Some(Hook::GroDone),
        &[&[T("napi_gro_receive_exit"), T("napi_gro_frags_exit")]],
        &[],
    ),
    row("backlog", Some(Hook::Backlog), &[&[T("netif_rx")]], &[]),
    row(
        "receive",
        Some(Hook::Receive),
        &[&[T("netif_receive_skb")]],
        &[S::Receive],
    ),
    row(
        "xdp_generic",
        Some(Hook::XdpGeneric),
        &[&[F("bpf_prog_run_generic_xdp")]],
        &[],
    ),
    row(
        "classify",
        Some(Hook::Classify),
        &[&[F("tcf_classify")]],
        &[S::TcIngress],
    ),
    // ip_list_rcv calls the _core functions too, but not ip_rcv
    row(
        "ip",
        Some(Hook::Ip),
        &[
            &[F("ip_rcv_core"), F("ip6_rcv_core")],
            &[F("ip_rcv"), F("ipv6_rcv")],
        ],
        &[S::Ip],
    ),
    row(
        "nf_enter",
        Some(Hook::NfEnter),
        &[&[F("nf_hook_slow")]],
        &[
            S::Prerouting,
            S::Input,
            S::Forward,
            S::Output,
            S::Postrouting,
        ],
    ),
    row(
        "nf_leave",
        Some(Hook::NfLeave),
        &[&[R("nf_hook_slow")]],
        &[
            S::Routing,
            S::Prerouting,
            S::Input,
            S::Forward,
            S::Output,
            S::Postrouting,
        ],
    ),
    row(
        "deliver",
        Some(Hook::Deliver),
        &[&[F("ip_local_deliver"), F("ip6_input")]],
        &[S::Input],
    ),
    row(
        "forward",
        Some(Hook::Forward),
        &[&[F("ip_forward"), F("ip6_forward")]],
        &[S::Forward],
    ),
    row(
        "transport",
        Some(Hook::Transport),
        &[&[
            F("tcp_v4_rcv"),
            F("tcp_v6_rcv"),
            F("udp_rcv"),
            F("udpv6_rcv"),
            F("icmp_rcv"),
            F("icmpv6_rcv"),
        ]],
        &[S::Transport],
    ),
    row(
        "transport_done",
        Some(Hook::TransportDone),
        &[&[R("tcp_v4_rcv"), R("tcp_v6_rcv")]],
        &[],
    ),
    row(
        "tcp_socket",
        Some(Hook::TcpSocket),
        &[&[T("tcp_probe")]],
        &[],
    ),
    row(
        "tcp_backlog",
        Some(Hook::TcpBacklog),
        &[&[F("tcp_add_backlog")]],
        &[],
    ),
    row(
        "queued",
        Some(Hook::Queued),
        &[&[T("sk_data_ready")], &[F("sock_def_readable")]],
        &[S::SocketQueue],
    ),
    row(
        "waking",
        Some(Hook::Wakeup),
        &[&[T("sched_waking")]],
        &[S::Wakeup],
    ),
    row(
        "copy",
        Some(Hook::Copy),
        &[&[T("skb_copy_datagram_iovec")]],
        &[S::Recv],
    ),
    // small datagrams are copied without that tracepoint
    row(
        "recv_udp",
        Some(Hook::Copy),
        &[&[R("__skb_recv_udp")]],
        &[S::Recv],
    ),
    // since 6.3
    row(
        "recv_exit",
        None,
        &[
            &[T("sock_recv_length")],
            &[R("inet_recvmsg"), R("inet6_recvmsg")],
        ],
        &[S::Recv],
    ),
    row(
        "send",
        Some(Hook::Send),
        &[&[F("inet_sendmsg"), F("inet6_sendmsg")]],
        &[S::Send],
    ),
    row(
        "write",
        Some(Hook::SocketWrite),
        &[
            &[F("tcp_sendmsg_locked"), F("sock_alloc_send_pskb")],
            &[T("tcp_sendmsg_locked")],
        ],
        &[S::SocketWrite],
    ),
    // since 6.3
    row(
        "send_exit",
        None,
        &[
            &[T("sock_send_length")],
            &[R("inet_sendmsg"), R("inet6_sendmsg")],
        ],
        &[],
    ),
    row(
        "tcp_transmit",
        Some(Hook::TcpTransmit),
        &[&[F("__tcp_transmit_skb")]],
        &[S::TcpTransmit],
    ),
    row("retransmit", None, &[&[T("tcp_retransmit_skb")]], &[]),
    row(
        "ip_output",
        Some(Hook::IpOutput),
        &[&[F("__ip_local_out"), F("__ip6_local_out")]],
        &[S::IpOutput],
    ),
    row(
        "ip6_xmit",
        Some(Hook::IpOutput),
        &[&[F("ip6_xmit")]],
        &[S::IpOutput],
    ),
    row(
        "neighbour",
        Some(Hook::Neighbour),
        &[&[F("ip_finish_output2"), F("ip6_finish_output2")]],
        &[S::Neighbour],
    ),
    row(
        "dev_queue",
        Some(Hook::DevQueue),
        &[&[T("net_dev_queue")], &[F("__dev_queue_xmit")]],
        &[S::DevQueue],
    ),
    row(
        "qdisc_enqueue",
        Some(Hook::QdiscEnqueue),
        &[&[T("qdisc_enqueue")]],
        &[S::Qdisc],
    ),
    row(
        "qdisc_dequeue",
        Some(Hook::QdiscDequeue),
        &[&[T("qdisc_dequeue")]],
        &[S::Qdisc],
    ),
    row(
        "start_xmit",
        Some(Hook::StartXmit),
        &[&[T("net_dev_start_xmit")]],
        &[S::Driver],
    ),
    row(
        "xmit_done",
        Some(Hook::XmitDone),
        &[&[T("net_dev_xmit")]],
        &[S::Completion],
    ),
    row(
        "consume",
        Some(Hook::Consume),
        &[&[T("consume_skb")]],
        &[S::Completion],
    ),
    // ends that have no tracepoint, so that an address that comes again is known for another packet's
    row(
        "freed",
        Some(Hook::Consume),
        &[&[F("skb_release_head_state")]],
        &[],
    ),
    Spec {
        drops: true,
        ..row("drop", Some(Hook::Drop), &[&[T("kfree_skb")]], &[])
    },
];
