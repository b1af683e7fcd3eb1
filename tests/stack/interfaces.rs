//! `stack interfaces` against `ip -s` and `tc -s`: links with traffic, a bridge, a shaper that dropped.

use pktjourney::lab::{Addresses, LabError, Netns, Pair, faults, traffic::udp::Flow};
use serde_json::Value;

use crate::tool;

/// How often to try again while something moved.
const TRIES: usize = 10;

/// Counters that `ip -s -s -j link` gives another name, or puts elsewhere: ours, and where they are.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    ("multicast", "rx", "multicast"),
    ("collisions", "tx", "collisions"),
    ("carrier_changes", "tx", "carrier_changes"),
];

fn json(netns: &Netns, program: &str, arguments: &[&str]) -> Vec<Value> {
    let text = tool::run(netns, program, arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Our interfaces, and what `ip` and `tc` say of them while nothing moved.
fn all_three(netns: &Netns) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let links = || json(netns, "ip", &["-s", "-s", "-d", "-j", "link", "show"]);
    let qdiscs = || json(netns, "tc", &["-s", "-j", "qdisc", "show"]);
    for _ in 0..TRIES {
        let before = (links(), qdiscs());
        let ours = tool::stack(netns)["interfaces"]["interfaces"].clone();
        if before == (links(), qdiscs()) {
            let ours = ours.as_array().expect("interfaces").clone();
            return (ours, before.0, before.1);
        }
    }
    panic!("the interfaces never stood still");
}

fn compare_link(own: &Value, link: &Value) {
    let name = &link["ifname"];
    assert_eq!(&own["name"], name);
    assert_eq!(own["index"], link["ifindex"], "{name}");
    assert_eq!(own["mtu_bytes"], link["mtu"], "{name}");
    assert_eq!(own["address"], link["address"], "{name}");
    assert_eq!(own["queue_packets"], link["txqlen"], "{name}");
    assert_eq!(
        own.get("kind"),
        link.pointer("/linkinfo/info_kind"),
        "{name}"
    );
    let flags = link["flags"].as_array().expect("flags");
    assert_eq!(own["up"], flags.contains(&"UP".into()), "{name}");
    assert_eq!(own["carrier"], flags.contains(&"LOWER_UP".into()), "{name}");
    let counters = own["counters"].as_object().expect("counters");
    for (direction, counters_of_ip) in link["stats64"].as_object().expect("stats64") {
        for (counter, value) in counters_of_ip.as_object().expect("counters") {
            let elsewhere = ELSEWHERE
                .iter()
                .find(|(_, of, theirs)| of == direction && theirs == counter);
            let ours = elsewhere.map_or(format!("{direction}_{counter}"), |one| one.0.to_owned());
            assert_eq!(counters.get(&ours), Some(value), "{name}: {ours}");
        }
    }
    assert!(counters.len() >= 24, "{counters:?}");
}

fn compare_qdisc(own: &Value, qdisc: &Value) {
    let what = format!("{qdisc}");
    for (ours, theirs) in [
        ("kind", "kind"),
        ("handle", "handle"),
        ("bytes", "bytes"),
        ("packets", "packets"),
        ("drops", "drops"),
        ("overlimits", "overlimits"),
        ("requeues", "requeues"),
        ("backlog_bytes", "backlog"),
        ("backlog_packets", "qlen"),
    ] {
        assert_eq!(own[ours], qdisc[theirs], "{ours} of {what}");
    }
    match qdisc.get("parent") {
        Some(parent) => assert_eq!(&own["parent"], parent, "{what}"),
        None => assert_eq!(own["parent"], "root", "{what}"),
    }
}

#[test]
fn links_and_qdiscs_are_ips_and_tcs() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    pair.a.ip(
        "link add br0 type bridge\nlink add d0 numtxqueues 2 type veth peer name d1\nlink set d0 master br0 up\n",
    )?;
    // A qdisc with one below it for each queue.
    pair.a.tc("qdisc add dev d0 root handle 1: mq")?;
    faults::closed_udp_port(&pair, false, 50)?;
    pair.a
        .tc("qdisc add dev a0 root tbf rate 1mbit burst 2000 limit 10000")?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    flow.send_unread(100, 1000);
    flow.drain(std::time::Duration::from_millis(500))?;
    let (ours, links, qdiscs) = all_three(&pair.a);
    assert_eq!(ours.len(), links.len());
    for (own, link) in ours.iter().zip(&links) {
        compare_link(own, link);
    }
    let dropped: u64 = qdiscs
        .iter()
        .filter_map(|qdisc| qdisc["drops"].as_u64())
        .sum();
    assert!(dropped >= 50, "the shaper dropped {dropped}");
    let mut count = 0;
    for own in &ours {
        let own_qdiscs = own["qdiscs"].as_array().expect("qdiscs");
        let theirs: Vec<_> = qdiscs
            .iter()
            .filter(|qdisc| qdisc["dev"] == own["name"])
            .collect();
        assert_eq!(own_qdiscs.len(), theirs.len(), "{}", own["name"]);
        for (own, qdisc) in own_qdiscs.iter().zip(theirs) {
            compare_qdisc(own, qdisc);
            count += 1;
        }
    }
    assert!(count >= 3, "{count} qdiscs");
    let br0 = links
        .iter()
        .find(|link| link["ifname"] == "br0")
        .expect("br0");
    let d0 = ours.iter().find(|own| own["name"] == "d0").expect("d0");
    assert_eq!(d0["master_index"], br0["ifindex"]);
    Ok(())
}

#[test]
fn queues_are_those_of_the_namespaces_sysfs() -> Result<(), LabError> {
    let netns = Netns::new("queues")?;
    netns.ip("link add v0 numrxqueues 3 numtxqueues 2 type veth peer name v1\nlink set v0 up\n")?;
    // `ip netns exec` mounts this namespace's sysfs.
    let inside = |script: &str| {
        let arguments = ["netns", "exec", netns.name(), "sh", "-c", script];
        pktjourney::lab::run("ip", &arguments, "")
    };
    inside(
        "echo 1 > /sys/class/net/v0/queues/rx-1/rps_cpus; echo 20000 > /sys/class/net/v0/gro_flush_timeout",
    )?;
    let ours = tool::stack(&netns);
    let all = ours["interfaces"]["interfaces"]
        .as_array()
        .expect("interfaces")
        .clone();
    let v0 = all.iter().find(|one| one["name"] == "v0").expect("v0");
    let mask = inside("cat /sys/class/net/v0/queues/rx-1/rps_cpus")?;
    assert_eq!(v0["napi"]["receive"].as_array().map(Vec::len), Some(3));
    assert_eq!(v0["napi"]["transmit"].as_array().map(Vec::len), Some(2));
    assert_eq!(v0["napi"]["receive"][1]["rps_cpus"], mask.trim());
    assert_eq!(v0["napi"]["gro_flush_timeout_ns"], 20_000);
    // Our own view of sysfs has not changed.
    assert!(!std::path::Path::new("/sys/class/net/v0").exists());
    Ok(())
}
