//! Packets that an nft rule drops.

use std::net::UdpSocket;

use super::{Fault, port, towards};
use crate::lab::{LabError, Netns, Pair, Router, counters, traffic::udp};

/// Datagrams from `a` to `b`, dropped by an nft rule in `b` (`prerouting`, `input`) or in `a` (`output`,
/// `postrouting`).
pub fn nft(pair: &Pair, hook: &str, count: u64) -> Result<Fault, LabError> {
    let (netns, port) = match hook {
        "prerouting" => (&pair.b, port::PREROUTING),
        "input" => (&pair.b, port::INPUT),
        "output" => (&pair.a, port::OUTPUT),
        _ => (&pair.a, port::POSTROUTING),
    };
    let (source, to) = pair.v4();
    refused(
        netns,
        hook,
        &towards(&pair.a, source, to, port)?,
        port,
        count,
    )
}

/// Datagrams from `a` to `b`, dropped by an nft rule in the router's `forward` hook.
pub fn nft_forward(router: &Router, count: u64) -> Result<Fault, LabError> {
    let (source, to) = router.v4();
    let socket = towards(&router.a, source, to, port::FORWARD)?;
    refused(&router.router, "forward", &socket, port::FORWARD, count)
}

/// Adds a rule that drops datagrams to a port in one hook, sends such datagrams, and removes the rule.
fn refused(
    netns: &Netns,
    hook: &str,
    socket: &UdpSocket,
    port: u16,
    count: u64,
) -> Result<Fault, LabError> {
    netns.nft(&format!(
        "add table inet refuse\n\
         add chain inet refuse {hook} {{ type filter hook {hook} priority 0; }}\n\
         add rule inet refuse {hook} udp dport {port} counter drop\n"
    ))?;
    udp::send(socket, count, 32);
    let counted = counters::nft_counter(netns)?;
    netns.nft("delete table inet refuse\n")?;
    Ok(Fault {
        port,
        dropped: count,
        counted: Some(counted),
    })
}
