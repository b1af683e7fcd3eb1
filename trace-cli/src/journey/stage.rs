//! The stages' names, in the order in which a packet passes them: the table that the project is about.

macro_rules! stages {
    ($($variant:ident $name:literal $meaning:literal,)*) => {
        /// A named span between two stamps. Inbound first, each direction in a packet's order
        /// ([`StageName::Routing`] serves both).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum StageName { $(#[doc = $meaning] $variant,)* }

        impl StageName {
            /// Every stage, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable identifier used in all output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens to the packet between the stage's two ends.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

stages! {
    Interrupt "interrupt" "the card's interrupt handler, until it schedules NAPI",
    NapiSchedule "napi_schedule" "NAPI is scheduled (or the packet is on a backlog), the softirq has not begun",
    Softirq "softirq" "the NET_RX softirq runs, this poll has not begun",
    NapiPoll "napi_poll" "the driver's poll, until it hands over this packet",
    Gro "gro" "generic receive offload: waiting to be merged or passed on",
    Receive "receive" "netif_receive_skb: taps, VLAN, bridge, until the IP layer",
    TcIngress "tc_ingress" "tc ingress filters, generic XDP",
    Ip "ip" "ip_rcv: the IP header is checked",
    Prerouting "prerouting" "netfilter PREROUTING: conntrack, DNAT, rules",
    Routing "routing" "routing decision",
    Input "input" "local delivery and netfilter INPUT",
    Forward "forward" "ip_forward and netfilter FORWARD",
    Transport "transport" "tcp_v4_rcv, udp_rcv, icmp_rcv: the socket is found, the protocol runs",
    SocketQueue "socket_queue" "in the socket's receive queue (or TCP backlog): nobody has read it yet",
    Wakeup "wakeup" "the reader was woken and has not begun to copy",
    Recv "recv" "recv() copies it to user space",
    Send "send" "send() was called, the data is not copied yet",
    SocketWrite "socket_write" "the data is copied, and waits in the socket's write queue",
    TcpTransmit "tcp_transmit" "TCP builds the segment's header",
    IpOutput "ip_output" "IP output: the header is built or finished",
    Output "output" "netfilter OUTPUT",
    Postrouting "postrouting" "netfilter POSTROUTING: SNAT, rules",
    Neighbour "neighbour" "fragmentation and neighbour (ARP, NDP) look-up",
    DevQueue "dev_queue" "__dev_queue_xmit: egress filters, queue selection, segmentation",
    Qdisc "qdisc" "in the qdisc",
    Driver "driver" "the driver takes it",
    Completion "completion" "on the card, until the driver frees it",
}
