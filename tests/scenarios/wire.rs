//! A scenario's records as the bytes that the kernel side would send.

use std::net::{IpAddr, SocketAddr};

use trace_ebpf::{
    DropHead, Entry, Hook, Kind, MAX_STACK, NAME_BYTES, PACKET_BYTES, PollEvent, Tag, flags,
};

use crate::spec::{Packet, Scenario, Step};

/// A hook by its name in scenario files; netfilter's with the two small fields.
pub fn hook(name: &str) -> (Hook, u8, u16) {
    let (verb, rest) = name.split_once(' ').unwrap_or(("", name));
    let number = |name: &str| match name {
        "prerouting" => 0,
        "input" => 1,
        "forward" => 2,
        "output" => 3,
        "postrouting" => 4,
        other => panic!("no netfilter hook {other}"),
    };
    match verb {
        "enter" => return (Hook::NfEnter, number(rest), 2),
        "leave" => return (Hook::NfLeave, number(rest), 1),
        "gro_done" => {
            let result = match rest {
                "merged" => 0,
                "merged_free" => 1,
                "held" => 2,
                "normal" => 3,
                other => panic!("no GRO result {other}"),
            };
            return (Hook::GroDone, result, 0);
        }
        _ => {}
    }
    let hook = match name {
        "interrupt" => Hook::Interrupt,
        "napi_schedule" => Hook::NapiSchedule,
        "softirq" => Hook::Softirq,
        "poll" => Hook::Poll,
        "gro" => Hook::Gro,
        "backlog" => Hook::Backlog,
        "receive" => Hook::Receive,
        "classify" => Hook::Classify,
        "xdp_generic" => Hook::XdpGeneric,
        "ip" => Hook::Ip,
        "deliver" => Hook::Deliver,
        "forward" => Hook::Forward,
        "transport" => Hook::Transport,
        "transport_done" => Hook::TransportDone,
        "tcp_socket" => Hook::TcpSocket,
        "tcp_backlog" => Hook::TcpBacklog,
        "queued" => Hook::Queued,
        "wakeup" => Hook::Wakeup,
        "copy" => Hook::Copy,
        "consume" => Hook::Consume,
        "drop" => Hook::Drop,
        "send" => Hook::Send,
        "socket_write" => Hook::SocketWrite,
        "tcp_transmit" => Hook::TcpTransmit,
        "ip_output" => Hook::IpOutput,
        "neighbour" => Hook::Neighbour,
        "dev_queue" => Hook::DevQueue,
        "qdisc_enqueue" => Hook::QdiscEnqueue,
        "qdisc_dequeue" => Hook::QdiscDequeue,
        "start_xmit" => Hook::StartXmit,
        "xmit_done" => Hook::XmitDone,
        other => panic!("no hook {other}"),
    };
    (hook, 0, 0)
}

pub fn bytes(scenario: &Scenario, step: &Step) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(s) = &step.segment {
        let packet = s.packet.as_ref().map(|name| {
            scenario
                .packets
                .get(name)
                .unwrap_or_else(|| panic!("no packet {name}"))
        });
        let mut flag = 0;
        flag |= if packet.is_some() { flags::PACKET } else { 0 };
        flag |= if s.cloned { flags::CLONED } else { 0 };
        flag |= if s.nested { flags::NESTED } else { 0 };
        let times = step.stamps.iter().filter_map(|e| e.split_once('@'));
        let t0: u64 = times.map(|(_, t)| t.parse().unwrap()).min().unwrap_or(0);
        put(&mut out, &[Kind::Segment as u8, flag, 0, 0]);
        put(&mut out, &s.cpu.to_ne_bytes());
        put(&mut out, &0x0800u16.to_ne_bytes());
        put(&mut out, &s.skb.to_ne_bytes());
        put(&mut out, &t0.to_ne_bytes());
        put(&mut out, &s.head.unwrap_or(s.skb + 0x1000).to_ne_bytes());
        put(&mut out, &s.sk.to_ne_bytes());
        put(&mut out, &packet.map_or(0, total_length).to_ne_bytes());
        put(&mut out, &s.netns.to_ne_bytes());
        put(&mut out, &s.device.to_ne_bytes());
        put(&mut out, &0u32.to_ne_bytes());
        if let Some(packet) = packet {
            put(&mut out, &headers(packet));
        }
        for entry in &step.stamps {
            put(&mut out, &entry_bytes(entry, t0));
        }
    } else if let Some(d) = &step.drop {
        let depth = u8::try_from(d.stack.len()).unwrap();
        put(&mut out, &[Kind::Drop as u8, depth, 0, 0]);
        put(&mut out, &d.cpu.to_ne_bytes());
        put(&mut out, &0x0800u16.to_ne_bytes());
        put(&mut out, &d.skb.to_ne_bytes());
        put(&mut out, &d.time.to_ne_bytes());
        put(&mut out, &d.location.to_ne_bytes());
        put(
            &mut out,
            &d.reason.unwrap_or(DropHead::NO_REASON).to_ne_bytes(),
        );
        put(&mut out, &u32::from(d.shared).to_ne_bytes());
        for i in 0..MAX_STACK {
            put(
                &mut out,
                &d.stack.get(i).copied().unwrap_or(0).to_ne_bytes(),
            );
        }
    } else if let Some(s) = &step.socket {
        let op = match s.op.as_str() {
            "send" => 1,
            "receive" => 2,
            "receive_end" => 3,
            "retransmit" => 4,
            "datagram" => 5,
            "datagram_at" => 6,
            "datagram_before" => 7,
            other => panic!("no socket operation {other}"),
        };
        put(&mut out, &[Kind::Socket as u8, op, 0, 0]);
        put(&mut out, &s.cpu.to_ne_bytes());
        put(&mut out, &0u16.to_ne_bytes());
        for n in [s.start, s.end, s.sk] {
            put(&mut out, &n.to_ne_bytes());
        }
        for n in [s.seq, s.len, s.pid, 0] {
            put(&mut out, &n.to_ne_bytes());
        }
    } else if let Some(p) = &step.poll {
        put(&mut out, &[Kind::Poll as u8, 0, 0, 0]);
        put(&mut out, &p.cpu.to_ne_bytes());
        put(
            &mut out,
            &p.irq.unwrap_or(PollEvent::NO_INTERRUPT).to_ne_bytes(),
        );
        put(&mut out, &p.number.to_ne_bytes());
        put(&mut out, &p.device.to_ne_bytes());
        put(&mut out, &p.start.to_ne_bytes());
        put(&mut out, &p.end.to_ne_bytes());
        put(&mut out, &p.work.to_ne_bytes());
        put(&mut out, &p.budget.to_ne_bytes());
        put(&mut out, &p.softirq.to_ne_bytes());
    } else if let Some(p) = &step.process {
        put(&mut out, &[Kind::Process as u8, 0, 0, 0]);
        put(&mut out, &p.pid.to_ne_bytes());
        put(&mut out, &p.tgid.to_ne_bytes());
        put(&mut out, &0u32.to_ne_bytes());
        let mut name = [0; NAME_BYTES];
        name[..p.name.len()].copy_from_slice(p.name.as_bytes());
        put(&mut out, &name);
    } else {
        panic!("a step without content");
    }
    let length = u16::try_from(out.len()).unwrap();
    out[2..4].copy_from_slice(&length.to_ne_bytes());
    out
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn entry_bytes(text: &str, t0: u64) -> [u8; 8] {
    let (value, tag, a, b) = if let Some((name, time)) = text.split_once('@') {
        let (hook, a, b) = hook(name);
        let time: u64 = time.parse().unwrap();
        (u32::try_from(time - t0).unwrap(), hook as u8, a, b)
    } else {
        let (name, value) = text.split_once(' ').unwrap_or_else(|| panic!("{text}?"));
        let tag = match name {
            "device" => Tag::Device,
            "netns" => Tag::Netns,
            "pid" => Tag::Pid,
            "poll" => Tag::Poll,
            "poll_end" => Tag::PollEnd,
            "returned" => Tag::Returned,
            "received" => Tag::Received,
            "receiver" => Tag::Receiver,
            other => panic!("no tag {other}"),
        };
        let mut numbers = value.split(' ');
        let mut next = || numbers.next().and_then(|n| n.parse::<u64>().ok()).unwrap();
        let first = next();
        let (value, a, b) = match tag {
            Tag::Returned => (first - t0, 0, 0),
            // "received TIME BEFORE"
            Tag::Received => {
                let (a, b) = Entry::small_of(next());
                (first - t0, a, b)
            }
            // "poll_end TIME WORK BUDGET"
            Tag::PollEnd => (first - t0, next() as u8, next() as u16),
            _ => (first, 0, 0),
        };
        (u32::try_from(value).unwrap(), tag as u8, a, b)
    };
    packed(value, tag, a, b)
}

fn packed(value: u32, tag: u8, a: u8, b: u16) -> [u8; 8] {
    let mut out = [0; 8];
    out[..4].copy_from_slice(&value.to_ne_bytes());
    out[4] = tag;
    out[5] = a;
    out[6..].copy_from_slice(&b.to_ne_bytes());
    out
}

fn addresses(packet: &Packet) -> (SocketAddr, SocketAddr) {
    let parse = |text: &str| {
        text.parse::<SocketAddr>()
            .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
            .unwrap_or_else(|_| panic!("no address: {text}"))
    };
    (parse(&packet.from), parse(&packet.to))
}

fn transport_header(packet: &Packet) -> u32 {
    match packet.kind.as_str() {
        _ if packet.offset > 0 => 0,
        "tcp" => 20,
        _ => 8,
    }
}

fn is_fragment(packet: &Packet) -> bool {
    packet.offset > 0 || packet.more_fragments
}

fn total_length(packet: &Packet) -> u32 {
    let ip = if addresses(packet).0.is_ipv4() {
        20
    } else {
        40
    };
    let fragment = if ip == 40 && is_fragment(packet) {
        8
    } else {
        0
    };
    ip + fragment + transport_header(packet) + packet.payload
}

/// The packet's first bytes.
pub fn headers(packet: &Packet) -> [u8; PACKET_BYTES] {
    let mut out = [0; PACKET_BYTES];
    let (from, to) = addresses(packet);
    let protocol = match packet.kind.as_str() {
        "udp" => 17,
        "tcp" => 6,
        "icmp" if from.is_ipv4() => 1,
        "icmp" => 58,
        other => panic!("no protocol {other}"),
    };
    let total = total_length(packet);
    let at = match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out[0] = 0x45;
            out[2..4].copy_from_slice(&u16::try_from(total).unwrap().to_be_bytes());
            out[4..6].copy_from_slice(&packet.id.to_be_bytes());
            let more = if packet.more_fragments { 0x2000 } else { 0 };
            out[6..8].copy_from_slice(&((packet.offset / 8) | more).to_be_bytes());
            out[8] = packet.ttl;
            out[9] = protocol;
            out[12..16].copy_from_slice(&source.octets());
            out[16..20].copy_from_slice(&destination.octets());
            20
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            out[0] = 0x60;
            out[4..6].copy_from_slice(&u16::try_from(total - 40).unwrap().to_be_bytes());
            out[6] = protocol;
            out[7] = packet.ttl;
            out[8..24].copy_from_slice(&source.octets());
            out[24..40].copy_from_slice(&destination.octets());
            if is_fragment(packet) {
                out[6] = 44;
                out[40] = protocol;
                let more = u16::from(packet.more_fragments);
                out[42..44].copy_from_slice(&(packet.offset | more).to_be_bytes());
                out[46..48].copy_from_slice(&packet.id.to_be_bytes());
                48
            } else {
                40
            }
        }
        _ => panic!("addresses of two families"),
    };
    if packet.offset > 0 {
        return out;
    }
    match packet.kind.as_str() {
        "icmp" => out[at] = packet.icmp,
        kind => {
            out[at..at + 2].copy_from_slice(&from.port().to_be_bytes());
            out[at + 2..at + 4].copy_from_slice(&to.port().to_be_bytes());
            if kind == "tcp" {
                out[at + 4..at + 8].copy_from_slice(&packet.seq.to_be_bytes());
                out[at + 8..at + 12].copy_from_slice(&packet.ack.to_be_bytes());
                out[at + 12] = 5 << 4;
                out[at + 13] = packet.flags.chars().fold(0, |bits, flag| {
                    bits | match flag {
                        'F' => 1,
                        'S' => 2,
                        'R' => 4,
                        'P' => 8,
                        'A' => 16,
                        other => panic!("no TCP flag {other}"),
                    }
                });
            }
        }
    }
    out
}
