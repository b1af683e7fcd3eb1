//! Packets that come to the end of their way: nobody listens, the checksum is wrong, the buffer is full.

use std::{net::TcpStream, time::Duration};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::{Fault, counting, port, towards};
use crate::lab::{
    LabError, Pair, counters,
    traffic::{raw, udp},
};

/// Datagrams from `a` to a port of `b` that nobody listens to.
pub fn closed_udp_port(pair: &Pair, v6: bool, count: u64) -> Result<Fault, LabError> {
    let ((source, to), counter) = if v6 {
        (pair.v6(), "Udp6NoPorts")
    } else {
        (pair.v4(), "UdpNoPorts")
    };
    let socket = towards(&pair.a, source, to, port::CLOSED_UDP)?;
    counting(port::CLOSED_UDP, &pair.b, counter, || {
        Ok(udp::send(&socket, count, 32))
    })
}

/// SYNs from `a` to a port of `b` that nobody listens to.
pub fn closed_tcp_port(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    let (source, to) = pair.v4();
    counting(port::CLOSED_TCP, &pair.b, "TcpOutRsts", || {
        for _ in 0..count {
            let refused = pair
                .a
                .enter(|| Ok(TcpStream::connect((to, port::CLOSED_TCP))))?;
            if refused.is_ok() {
                return Err(LabError::Traffic(format!("{to} answers {source}")));
            }
        }
        Ok(count)
    })
}

/// Datagrams or SYNs from `a` to a port of `b` that is listened to, with a wrong transport checksum.
pub fn bad_checksum(
    pair: &Pair,
    transport: raw::Transport,
    v6: bool,
    count: u64,
) -> Result<Fault, LabError> {
    let (source, to) = if v6 { pair.v6() } else { pair.v4() };
    let listener = udp::socket(&pair.b, to)?;
    let port = listener
        .local_addr()
        .map_err(LabError::io("ask for a socket's address"))?
        .port();
    let packet = raw::Packet {
        transport,
        bad_checksum: true,
        ..raw::Packet::udp((source, 40_000), (to, port))
    };
    let counter = match (transport, v6) {
        (raw::Transport::Udp, false) => "UdpInCsumErrors",
        (raw::Transport::Udp, true) => "Udp6InCsumErrors",
        // of both versions
        (raw::Transport::TcpSyn, _) => "TcpInCsumErrors",
    };
    counting(port, &pair.b, counter, || {
        raw::send(&pair.a, &packet, count).map(|()| count)
    })
}

/// Datagrams to a socket that holds few and that nobody reads meanwhile. Those it held are read afterwards.
pub fn full_socket(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    let (source, to) = pair.v4();
    let flow = udp::Flow::open(&pair.a, source, &pair.b, to)?;
    set_socket_recv_buffer_size(&flow.receiver, 4096).map_err(LabError::io("set SO_RCVBUF"))?;
    counting(flow.port()?, &pair.b, "UdpRcvbufErrors", || {
        let sent = flow.send_unread(count, 512);
        Ok(sent - flow.drain(Duration::from_millis(50))?)
    })
}

/// Datagrams into a token bucket that holds few. What it held arrives and is read.
pub fn full_qdisc(pair: &Pair, count: u64) -> Result<Fault, LabError> {
    pair.a
        .tc("qdisc add dev a0 root tbf rate 1mbit burst 2000 limit 10000")?;
    let (source, to) = pair.v4();
    let flow = udp::Flow::open(&pair.a, source, &pair.b, to)?;
    flow.send_unread(count, 1000);
    // 10,000 bytes at 1 Mbit/s are gone after 80 ms.
    let read = flow.drain(Duration::from_millis(500))?;
    let counted = counters::qdisc_drops(&pair.a, "a0")?;
    pair.a.tc("qdisc del dev a0 root")?;
    Ok(Fault {
        port: flow.port()?,
        dropped: count - read,
        counted: Some(counted),
    })
}
