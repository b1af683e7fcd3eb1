//! Rules about sockets: their queues, buffers and memory, and what becomes of their segments.

use super::{Evidence, Finding, View, at_least_one_in, doubled, evidence, nearly_full, sysctl};
use crate::stack::sockets::Protocol;

/// So many listeners are named.
const LISTENERS: usize = 5;
/// Fewer segments say nothing about how many are lost.
const ENOUGH_SEGMENTS: u64 = 1000;

/// A finding about all of a protocol, if there is any evidence.
fn finding(subject: &str, evidence: Vec<Evidence>, commands: Vec<String>) -> Vec<Finding> {
    if evidence.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        subject: subject.to_owned(),
        evidence,
        commands,
    }]
}

/// TCP's line of sockstat.
fn tcp<'a>(view: &View<'a>) -> Option<&'a Protocol> {
    view.now.sockets.as_ref()?.protocol("TCP")
}

impl View<'_> {
    /// Twice as much as a limit is now, if that is known.
    fn raise(&self, name: &str) -> Option<String> {
        Some(doubled(name, self.limit(name)?))
    }
}

pub(super) fn listen_overflow(view: &View<'_>) -> Vec<Finding> {
    let mut commands = vec!["ss -ltn".to_owned()];
    commands.extend(view.raise("core/somaxconn"));
    let mut all = view.counted(&["TcpExtListenOverflows"]);
    if !all.is_empty() {
        // Whose queue it was, as far as those that listen still do.
        let sockets = view.counted.connections.iter().flat_map(|all| &all.sockets);
        let dropped = sockets.filter_map(|socket| {
            let dropped = socket.backlog?.dropped.filter(|dropped| *dropped > 0)?;
            Some(evidence(
                format!("listener {}: dropped", socket.local),
                dropped.into(),
            ))
        });
        all.extend(dropped.take(LISTENERS));
    }
    finding("TCP", all, commands)
}

pub(super) fn syn_queue(view: &View<'_>) -> Vec<Finding> {
    let evidence = view.counted(&["TcpExtTCPReqQFullDrop", "TcpExtTCPReqQFullDoCookies"]);
    let commands = ["ipv4/tcp_max_syn_backlog", "core/somaxconn"]
        .into_iter()
        .filter_map(|name| view.raise(name));
    finding("TCP", evidence, commands.collect())
}

pub(super) fn udp_receive_buffer(view: &View<'_>) -> Vec<Finding> {
    let evidence = view.counted(&["UdpRcvbufErrors", "Udp6RcvbufErrors"]);
    // The first is what sockets begin with, the second what they may ask for.
    let commands = ["core/rmem_default", "core/rmem_max"]
        .into_iter()
        .filter_map(|name| view.raise(name));
    finding("UDP", evidence, commands.collect())
}

pub(super) fn tcp_receive_buffer(view: &View<'_>) -> Vec<Finding> {
    let evidence = view.counted(&[
        "TcpExtTCPRcvQDrop",
        "TcpExtTCPOFODrop",
        "TcpExtRcvPruned",
        "TcpExtOfoPruned",
        "TcpExtPruneCalled",
    ]);
    let sockets = view.now.sockets.as_ref();
    let command = sockets
        .and_then(|sockets| sockets.tcp_receive_buffer)
        .map(|now| {
            let max = now.max_bytes.saturating_mul(2);
            sysctl(
                "ipv4/tcp_rmem",
                format!("'{} {} {max}'", now.min_bytes, now.default_bytes),
            )
        });
    finding("TCP", evidence, command.into_iter().collect())
}

pub(super) fn socket_memory(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (protocol, sysctl_name, counters) in [
        ("TCP", "ipv4/tcp_mem", &["TcpExtTCPMemoryPressures"][..]),
        (
            "UDP",
            "ipv4/udp_mem",
            &["UdpMemErrors", "Udp6MemErrors"][..],
        ),
    ] {
        let mut all = view.counted(counters);
        let sockets = view.now.sockets.as_ref();
        let memory =
            sockets.and_then(|sockets| sockets.memory.iter().find(|one| one.protocol == protocol));
        if let Some(memory) = memory
            && (memory.used_bytes >= memory.pressure_bytes || !all.is_empty())
        {
            all.push(evidence(
                format!("{protocol} memory, bytes"),
                memory.used_bytes,
            ));
            all.push(evidence(
                format!("{protocol} pressure mark, bytes"),
                memory.pressure_bytes,
            ));
        }
        let command = memory.map(|memory| {
            // The setting is in pages.
            let page = rustix::param::page_size() as u64;
            let [low, pressure, high] =
                [memory.low_bytes, memory.pressure_bytes, memory.high_bytes]
                    .map(|bytes| bytes.saturating_mul(2) / page);
            sysctl(sysctl_name, format!("'{low} {pressure} {high}'"))
        });
        findings.extend(finding(protocol, all, command.into_iter().collect()));
    }
    findings
}

/// What a protocol's line of sockstat holds against a limit, if it is nearly full.
fn level(view: &View<'_>, name: &str, used: Option<u64>, limit: &str) -> Vec<Evidence> {
    match (used, view.limit(limit)) {
        (Some(used), Some(max)) if nearly_full(used, max) => {
            vec![evidence(name, used), evidence(limit, max)]
        }
        _ => Vec::new(),
    }
}

pub(super) fn orphans(view: &View<'_>) -> Vec<Finding> {
    let tcp = tcp(view);
    let limit = "ipv4/tcp_max_orphans";
    let mut evidence = view.counted(&["TcpExtTCPAbortOnMemory"]);
    evidence.extend(level(
        view,
        "sockstat TCP orphan",
        tcp.and_then(|tcp| tcp.orphans),
        limit,
    ));
    let mut commands: Vec<String> = view.raise(limit).into_iter().collect();
    commands.push(sysctl("ipv4/tcp_fin_timeout", 30));
    finding("TCP", evidence, commands)
}

pub(super) fn time_wait(view: &View<'_>) -> Vec<Finding> {
    let tcp = tcp(view);
    let limit = "ipv4/tcp_max_tw_buckets";
    let mut evidence = view.counted(&["TcpExtTCPTimeWaitOverflow"]);
    evidence.extend(level(
        view,
        "sockstat TCP tw",
        tcp.and_then(|tcp| tcp.time_wait),
        limit,
    ));
    finding("TCP", evidence, view.raise(limit).into_iter().collect())
}

pub(super) fn retransmits(view: &View<'_>) -> Vec<Finding> {
    let (again, sent) = (view.protocol("TcpRetransSegs"), view.protocol("TcpOutSegs"));
    if sent < ENOUGH_SEGMENTS || !at_least_one_in(again, 100, sent) {
        return Vec::new();
    }
    let commands = [
        "pktjourney drops tcp",
        "pktjourney stack interfaces",
        "ss -ti",
    ];
    finding(
        "TCP",
        vec![
            evidence("TcpRetransSegs", again),
            evidence("TcpOutSegs", sent),
        ],
        commands.map(str::to_owned).to_vec(),
    )
}

/// Probes happen only after a way has swallowed segments (`tcp_mtu_probing` 1), or always (2). A router that may not fragment tells
/// the sender by ICMP, which firewalls like to drop.
pub(super) fn mtu_black_hole(view: &View<'_>) -> Vec<Finding> {
    let evidence = view.counted(&[
        "TcpExtTCPMTUPSuccess",
        "TcpExtTCPMTUPFail",
        "IpFragFails",
        "Ip6InTooBigErrors",
    ]);
    finding(
        "MTU",
        evidence,
        vec![
            sysctl("ipv4/tcp_mtu_probing", 1),
            "nft add rule inet filter forward icmp code frag-needed accept".to_owned(),
            "nft add rule inet filter forward icmpv6 type packet-too-big accept".to_owned(),
        ],
    )
}
