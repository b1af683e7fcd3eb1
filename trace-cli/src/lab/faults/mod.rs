//! Packets that the kernel must drop, an exact number each, with what the kernel itself counted.
//!
//! A fault is made with what an operator would meet: a closed port, a rule, a missing route, a full buffer.

mod host;
mod route;
mod rule;

use std::net::{IpAddr, UdpSocket};

pub use host::*;
pub use route::*;
pub use rule::*;

use super::{LabError, Netns, counters::Counters, traffic::udp};

/// Ports that nobody listens to in a namespace of ours: one for each fault, so that they can be told apart.
mod port {
    pub(super) const CLOSED_UDP: u16 = 9001;
    pub(super) const CLOSED_TCP: u16 = 9002;
    pub(super) const PREROUTING: u16 = 9011;
    pub(super) const INPUT: u16 = 9012;
    pub(super) const FORWARD: u16 = 9013;
    pub(super) const OUTPUT: u16 = 9014;
    pub(super) const POSTROUTING: u16 = 9015;
    pub(super) const NO_ROUTE: u16 = 9021;
    pub(super) const TTL: u16 = 9022;
    pub(super) const TOO_BIG: u16 = 9023;
    pub(super) const REVERSE_PATH: u16 = 9031;
    pub(super) const MARTIAN: u16 = 9032;
    pub(super) const NO_NEIGHBOUR: u16 = 9041;
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Destination port of the packets.
    pub port: u16,
    /// Packets that had to be dropped.
    pub dropped: u64,
    /// Packets that the kernel says it dropped, where it counts them.
    pub counted: Option<u64>,
}

/// Does something and reads how much a counter of `netns` grew by it.
fn counting(
    port: u16,
    netns: &Netns,
    counter: &str,
    work: impl FnOnce() -> Result<u64, LabError>,
) -> Result<Fault, LabError> {
    let before = Counters::read(netns)?;
    let dropped = work()?;
    let after = Counters::read(netns)?;
    Ok(Fault {
        port,
        dropped,
        counted: Some(after.since(&before, counter)),
    })
}

/// A socket in `from` that sends to a port of `to`.
fn towards(from: &Netns, source: IpAddr, to: IpAddr, port: u16) -> Result<UdpSocket, LabError> {
    let socket = udp::socket(from, source)?;
    socket
        .connect((to, port))
        .map_err(LabError::io(format!("connect to {to}")))?;
    Ok(socket)
}
