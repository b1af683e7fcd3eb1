//! Ping, by an ICMP datagram socket (what the `ping` program uses when it is not root).

use std::net::{IpAddr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, connect, ipproto, recv, send, socket,
    sockopt::{Timeout, set_socket_timeout},
};

use super::PATIENCE;
use crate::lab::{LabError, Netns};

/// Type of an echo request (ICMP, ICMPv6).
const REQUEST: (u8, u8) = (8, 128);
/// Type of its answer.
const ANSWER: (u8, u8) = (0, 129);

/// Sends `count` echo requests with `bytes` of data, waiting for the answer of each.
pub fn ping(netns: &Netns, to: IpAddr, count: u16, bytes: usize) -> Result<(), LabError> {
    let (family, protocol, request, answer) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, REQUEST.0, ANSWER.0),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, REQUEST.1, ANSWER.1),
    };
    let failed = |what: &str| LabError::io::<rustix::io::Errno>(format!("ping {to}: {what}"));
    let socket = netns.enter(|| {
        let socket = socket(family, SocketType::DGRAM, Some(protocol)).map_err(failed("socket"))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(failed("time-out"))?;
        connect(&socket, &SocketAddr::new(to, 0)).map_err(failed("connect"))?;
        Ok(socket)
    })?;
    let mut packet = vec![0; 8 + bytes];
    for number in 0..count {
        packet[0] = request;
        packet[6..8].copy_from_slice(&number.to_be_bytes());
        send(&socket, &packet, SendFlags::empty()).map_err(failed("send"))?;
        let mut buffer = vec![0; 8 + bytes];
        let (length, _) =
            recv(&socket, &mut buffer[..], RecvFlags::empty()).map_err(failed("no answer"))?;
        if length != packet.len() || buffer[0] != answer || buffer[6..8] != packet[6..8] {
            return Err(LabError::Traffic(format!(
                "{to} answers echo request {number} with something else"
            )));
        }
    }
    Ok(())
}
