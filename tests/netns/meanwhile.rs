//! What the kernel counted meanwhile, as a trace tells it, is what was lost: as much as was provoked, as `nstat` and `tc` say, and
//! as the trace's own journeys.

use std::{collections::BTreeMap, net::IpAddr, process::Command, time::Duration};

use pktjourney::lab::{
    Addresses, LabError, Netns, Pair, counters::qdisc_drops, faults, traffic::udp::Flow,
};
use serde_json::Value;

use crate::{
    trace::Trace,
    tracer::{Tracer, binary},
};

/// All counters that `nstat` shows.
fn nstat(netns: &Netns) -> Result<BTreeMap<String, u64>, LabError> {
    let text = netns.exec("nstat", &["-a", "-s", "-z", "-j"])?;
    let all: Value = serde_json::from_str(&text).expect("nstat -j");
    let all = all["kernel"].as_object().expect("counters").iter();
    Ok(all
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect())
}

/// What the trace says was counted in a namespace.
fn counted(trace: &Trace, netns: &Netns) -> Value {
    let meanwhile = trace.meanwhile.as_ref().expect("what was counted");
    assert_eq!(meanwhile["missing"].as_array(), Some(&Vec::new()));
    let mut all = meanwhile["namespaces"].as_array().expect("all").iter();
    all.find(|one| one["name"] == netns.name())
        .expect("the namespace")
        .clone()
}

fn dropped(trace: &Trace, address: IpAddr, port: u16) -> u64 {
    let all = trace.to(address, port).into_iter();
    all.filter(|journey| journey.outcome == "dropped").count() as u64
}

#[test]
fn losses_are_those_provoked_and_those_seen() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let tracer = Tracer::start(&[&pair.a, &pair.b], &["--netns", pair.b.name()]);
    let before = nstat(&pair.b)?;
    let closed = faults::closed_udp_port(&pair, false, 11)?;
    let closed6 = faults::closed_udp_port(&pair, true, 7)?;
    let full = faults::full_socket(&pair, 200)?;
    let after = nstat(&pair.b)?;
    assert!(full.dropped > 100, "{full:?}");
    let trace = tracer.finish();
    let namespace = counted(&trace, &pair.b);
    let grew = |name: &str| namespace["protocols"][name].as_u64().unwrap_or(0);
    assert_eq!(grew("UdpNoPorts"), closed.dropped);
    assert_eq!(grew("Udp6NoPorts"), closed6.dropped);
    assert_eq!(grew("UdpRcvbufErrors"), full.dropped);
    let (to, to6) = (pair.v4().1, pair.v6().1);
    assert_eq!(dropped(&trace, to, closed.port), grew("UdpNoPorts"));
    assert_eq!(dropped(&trace, to6, closed6.port), grew("Udp6NoPorts"));
    assert_eq!(dropped(&trace, to, full.port), grew("UdpRcvbufErrors"));
    // nstat's two looks lie between ours. Only neighbours are still being discovered outside of them.
    for (name, now) in &after {
        let growth = now.saturating_sub(before.get(name).copied().unwrap_or(0));
        let is_gauge = matches!(
            name.as_str(),
            "IpForwarding"
                | "IpDefaultTTL"
                | "TcpRtoAlgorithm"
                | "TcpRtoMin"
                | "TcpRtoMax"
                | "TcpCurrEstab"
        );
        if name.contains("Udp") {
            assert_eq!(grew(name), growth, "{name}");
        } else {
            assert!(
                is_gauge || grew(name) >= growth,
                "{name}: {} < {growth}",
                grew(name)
            );
        }
    }
    for name in namespace["protocols"].as_object().expect("counters").keys() {
        assert!(after.contains_key(name), "nstat has no {name}");
    }
    // One device, which received no less than what was dropped.
    let device = &namespace["interfaces"][0]["counters"];
    let lost = closed.dropped + closed6.dropped + full.dropped;
    assert!(device["rx_packets"].as_u64() >= Some(lost), "{device}");
    Ok(())
}

#[test]
fn a_qdiscs_losses_are_tcs() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    pair.a
        .tc("qdisc add dev a0 root tbf rate 1mbit burst 2000 limit 10000")?;
    let before = qdisc_drops(&pair.a, "a0")?;
    let tracer = Tracer::start(&[&pair.a, &pair.b], &["--netns", pair.a.name()]);
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let sent = flow.send_unread(30, 1000);
    let read = flow.drain(Duration::from_millis(500))?;
    let drops = qdisc_drops(&pair.a, "a0")? - before;
    let trace = tracer.finish();
    assert!(drops >= 30 - read && drops > 0, "{sent} {read} {drops}");
    let namespace = counted(&trace, &pair.a);
    let devices = namespace["interfaces"].as_array().expect("interfaces");
    let device = devices.iter().find(|one| one["name"] == "a0").expect("a0");
    assert_eq!(device["qdiscs"][0]["parent"], "root");
    assert_eq!(device["qdiscs"][0]["drops"], drops);
    assert_eq!(dropped(&trace, to, flow.port()?), drops);
    Ok(())
}

#[test]
fn people_see_what_was_lost_and_no_more() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recording");
    let file = file.to_str().expect("a path that is text");
    let tracer = Tracer::start(&[&pair.a, &pair.b], &["--netns", pair.b.name(), "-w", file]);
    faults::closed_udp_port(&pair, false, 5)?;
    tracer.finish();
    let output = Command::new(binary())
        .args(["drops", "--netns", pair.b.name(), "-r", file])
        .output()
        .expect("run pktjourney");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, section) = text
        .split_once("what the kernel counted meanwhile")
        .unwrap_or_else(|| panic!("no such section in {text}"));
    let line = section.lines().find(|line| line.contains("UdpNoPorts"));
    assert!(
        line.is_some_and(|line| line.trim().starts_with("5 ")),
        "{section}"
    );
    assert!(!section.contains("UdpInDatagrams"), "{section}");
    Ok(())
}
