//! Advice on losses that we provoke: the rule, and the value that it is known by.

use std::{net::TcpListener, time::Duration};

use pktjourney::lab::{Addresses, LabError, Netns, Pair, faults, traffic::udp::Flow};
use serde_json::Value;

use crate::tool;

fn advice(netns: &Netns) -> Vec<Value> {
    let records = tool::records(&["--netns", netns.name()]);
    let of = |record: &&Value| record["type"] == "advice" && record["netns"] == netns.name();
    records.iter().filter(of).cloned().collect()
}

fn find<'a>(all: &'a [Value], rule: &str) -> &'a Value {
    all.iter()
        .find(|one| one["rule"] == rule)
        .unwrap_or_else(|| panic!("no {rule} in {all:?}"))
}

fn value(advice: &Value, name: &str) -> Option<u64> {
    let evidence = advice["evidence"].as_array()?;
    evidence.iter().find(|one| one["name"] == name)?["value"].as_u64()
}

#[test]
fn full_buffers_and_queues_are_named() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let full = faults::full_socket(&pair, 200)?;
    let all = advice(&pair.b);
    let found = find(&all, "udp_receive_buffer");
    assert_eq!(value(found, "UdpRcvbufErrors"), full.counted);
    let commands = found["commands"].as_array().expect("commands");
    assert!(
        commands.iter().any(|one| {
            one.as_str()
                .is_some_and(|one| one.starts_with("sysctl -w net.core.rmem_max="))
        }) || commands.is_empty(),
        "{commands:?}"
    );

    pair.a.tc("qdisc add dev a0 root pfifo limit 1")?;
    pair.a
        .tc("qdisc replace dev a0 root tbf rate 1mbit burst 2000 limit 10000")?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    flow.send_unread(100, 1000);
    flow.drain(Duration::from_millis(500))?;
    let all = advice(&pair.a);
    let found = find(&all, "qdisc_drops");
    let dropped = pktjourney::lab::counters::qdisc_drops(&pair.a, "a0")?;
    assert_eq!(value(found, "tc -s qdisc: dropped"), Some(dropped));
    Ok(())
}

#[test]
fn a_listener_that_does_not_accept_is_named() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    pair.b.sysctl("net/core/somaxconn", "1")?;
    let (_, to) = pair.v4();
    let listener = pair
        .b
        .enter(|| TcpListener::bind((to, 0)).map_err(LabError::io("listen")))?;
    let address = listener
        .local_addr()
        .map_err(LabError::io("ask for an address"))?;
    // Two fit; whoever comes later is refused without a word.
    let clients: Vec<_> = (0..5)
        .map(|_| {
            pair.a.enter(|| {
                Ok(std::net::TcpStream::connect_timeout(
                    &address,
                    Duration::from_millis(300),
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    assert!(clients.iter().any(Result::is_err));
    let all = advice(&pair.b);
    let found = find(&all, "listen_overflow");
    let counters = pktjourney::lab::counters::Counters::read(&pair.b)?;
    // SYNs are sent again, so it may have grown since.
    let counted = value(found, "TcpExtListenOverflows").expect("a value");
    assert!(
        (1..=counters.get("TcpExtListenOverflows")).contains(&counted),
        "{counted}"
    );
    let dropped = value(found, &format!("listener {address}: dropped"));
    assert!(dropped.is_none_or(|dropped| dropped > 0), "{found}");
    // A guest may lack the module that lists listeners.
    if std::env::var("PKTJOURNEY_VM").is_err() {
        assert!(dropped.is_some(), "{found}");
    }
    let commands = found["commands"].as_array().expect("commands");
    assert!(
        commands.contains(&"sysctl -w net.core.somaxconn=2".into()),
        "{commands:?}"
    );
    Ok(())
}

#[test]
fn a_quiet_namespace_gets_none() -> Result<(), LabError> {
    let netns = Netns::new("quiet")?;
    assert_eq!(advice(&netns), [] as [Value; 0]);
    Ok(())
}
