//! `stack nic` against `ethtool`: devices of a namespace with a veth wire, and those of this machine.

use std::{collections::BTreeMap, process::Command};

use pktjourney::lab::{Addresses, LabError, Netns, Pair};
use serde_json::Value;

use crate::tool;

/// What `ethtool` says, given a way to run it; nothing if the device has no such thing.
type Ethtool<'a> = &'a dyn Fn(&[&str]) -> Option<String>;

/// `name: value` lines; in what has two parts, names of the second one end in `-now`.
fn lines(text: &str) -> Vec<(String, String)> {
    let mut now = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("Current hardware settings") {
            now = "-now";
        } else if let Some((name, value)) = line.rsplit_once(':') {
            found.push((format!("{}{now}", name.trim()), value.trim().to_owned()));
        }
    }
    found
}

/// The numbers among them; `n/a` is none.
fn numbers(text: &str) -> BTreeMap<String, u64> {
    let all = lines(text).into_iter();
    all.filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

/// A group of settings: each of ours against `ethtool`'s, none against none.
fn settings(ours: &Value, theirs: Option<String>, names: &[(&str, &str)], device: &str) {
    let Some(theirs) = theirs else {
        assert!(ours.is_null(), "{device}: {ours}");
        return;
    };
    let theirs = numbers(&theirs);
    for (name, field) in names {
        assert_eq!(
            ours[field].as_u64(),
            theirs.get(*name).copied(),
            "{device} {name}: {theirs:?} {ours}"
        );
    }
}

fn device(ours: &Value, again: &Value, ethtool: Ethtool<'_>) {
    let name = ours["name"].as_str().unwrap();
    let channels = [
        ("RX", "rx_max"),
        ("TX", "tx_max"),
        ("Combined", "combined_max"),
        ("RX-now", "rx"),
        ("TX-now", "tx"),
        ("Combined-now", "combined"),
    ];
    settings(&ours["channels"], ethtool(&["-l", name]), &channels, name);
    let rings = [
        ("RX", "rx_max"),
        ("RX Mini", "rx_mini_max"),
        ("TX", "tx_max"),
        ("RX-now", "rx"),
        ("RX Mini-now", "rx_mini"),
        ("TX-now", "tx"),
    ];
    settings(&ours["rings"], ethtool(&["-g", name]), &rings, name);
    let coalescing = [
        ("rx-usecs", "rx_us"),
        ("rx-frames", "rx_frames"),
        ("tx-usecs", "tx_us"),
        ("tx-frames", "tx_frames"),
        ("rx-usecs-irq", "rx_us_irq"),
        ("stats-block-usecs", "statistics_us"),
    ];
    settings(
        &ours["coalescing"],
        ethtool(&["-c", name]),
        &coalescing,
        name,
    );
    driver(ours, ethtool, name);
    link(&ours["link"], ethtool, name);
    features(&ours["features"], ethtool, name);
    counters([&ours["counters"], &again["counters"]], ethtool, name);
}

fn driver(ours: &Value, ethtool: Ethtool<'_>, name: &str) {
    let theirs: BTreeMap<_, _> = ethtool(&["-i", name])
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once(": "))
        .filter(|(_, value)| !matches!(*value, "" | "N/A"))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    for (theirs_is, ours_is) in [
        ("driver", "name"),
        ("version", "version"),
        ("firmware-version", "firmware"),
        ("bus-info", "bus"),
    ] {
        let expected = theirs.get(theirs_is).map(String::as_str);
        assert_eq!(ours["driver"][ours_is].as_str(), expected, "{name}: {ours}");
    }
}

fn link(ours: &Value, ethtool: Ethtool<'_>, name: &str) {
    let text = ethtool(&[name]).unwrap_or_default();
    let theirs: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .collect();
    let ours_are = [
        (
            "Speed",
            ours["speed_mbit_per_s"]
                .as_u64()
                .map(|speed| format!("{speed}Mb/s")),
        ),
        (
            "Duplex",
            ours["full_duplex"]
                .as_bool()
                .map(|full| if full { "Full" } else { "Half" }.to_owned()),
        ),
        (
            "Auto-negotiation",
            ours["autonegotiation"]
                .as_bool()
                .map(|on| if on { "on" } else { "off" }.to_owned()),
        ),
        (
            "Link detected",
            ours["up"]
                .as_bool()
                .map(|up| if up { "yes" } else { "no" }.to_owned()),
        ),
        (
            "Port",
            ours["port"].as_str().map(|port| match port {
                "twisted_pair" => "Twisted Pair".to_owned(),
                "fibre" => "FIBRE".to_owned(),
                "other" => "Other".to_owned(),
                "direct_attach" => "Direct Attach Copper".to_owned(),
                port => port.to_uppercase(),
            }),
        ),
    ];
    for (field, ours) in ours_are {
        let theirs = theirs.get(field).map(|value| (*value).to_owned());
        let theirs = theirs.filter(|value| !value.starts_with("Unknown"));
        assert_eq!(ours, theirs, "{name} {field}: {text}");
    }
}

/// `ethtool` has names of its own for some; all others are the kernel's.
const RENAMED: [(&str, &str); 8] = [
    ("rx-checksumming", "rx-checksum"),
    ("generic-segmentation-offload", "tx-generic-segmentation"),
    ("generic-receive-offload", "rx-gro"),
    ("large-receive-offload", "rx-lro"),
    ("rx-vlan-offload", "rx-vlan-hw-parse"),
    ("tx-vlan-offload", "tx-vlan-hw-insert"),
    ("ntuple-filters", "rx-ntuple-filter"),
    ("receive-hashing", "rx-hashing"),
];

fn features(ours: &Value, ethtool: Ethtool<'_>, name: &str) {
    let text = ethtool(&["-k", name]).expect("every device has this");
    let mut compared = 0;
    for (theirs_is, value) in lines(&text) {
        let renamed = RENAMED.iter().find(|(theirs, _)| *theirs == theirs_is);
        let kernel = renamed.map_or(theirs_is.as_str(), |(_, kernel)| kernel);
        // Heads of groups are no features.
        if matches!(
            kernel,
            "tx-checksumming" | "scatter-gather" | "tcp-segmentation-offload"
        ) || kernel.starts_with("Features for")
        {
            continue;
        }
        let (on, fixed) = (value.starts_with("on"), value.contains("[fixed]"));
        let feature = &ours[kernel];
        assert_eq!(
            feature["on"].as_bool(),
            (on || !fixed).then_some(on),
            "{name} {kernel}: {value}"
        );
        if on || !fixed {
            assert_eq!(feature["changeable"], !fixed, "{name} {kernel}: {value}");
            compared += 1;
        }
    }
    assert_eq!(
        ours.as_object().unwrap().len(),
        compared,
        "{name}: {text}\n{ours}"
    );
}

/// Counters move: `ethtool` is asked between two of our looks.
fn counters(ours: [&Value; 2], ethtool: Ethtool<'_>, name: &str) {
    let Some(text) = ethtool(&["-S", name]) else {
        assert!(ours[0].is_null(), "{name}: {}", ours[0]);
        return;
    };
    let theirs: Vec<_> = lines(&text)
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let [before, after] = ours.map(|ours| ours.as_array().map(Vec::as_slice).unwrap_or_default());
    assert_eq!(
        (before.len(), after.len()),
        (theirs.len(), theirs.len()),
        "{name}: {text}"
    );
    for ((before, after), (counter, value)) in before.iter().zip(after).zip(theirs) {
        assert_eq!(
            before["name"].as_str().map(str::trim),
            Some(counter.as_str()),
            "{name}"
        );
        let value: u64 = value.parse().expect("a number");
        let bounds = before["value"].as_u64().unwrap()..=after["value"].as_u64().unwrap();
        assert!(
            bounds.contains(&value),
            "{name} {counter}: {value}, {bounds:?}"
        );
    }
}

/// All devices that `look` shows, before and after `ethtool` was asked.
fn compare(look: impl Fn() -> Value, run: impl Fn(&[&str]) -> Option<String>) -> Vec<String> {
    let before = look();
    let devices = before["devices"].as_array().unwrap().clone();
    assert!(!devices.is_empty());
    assert_eq!(before["missing"], serde_json::json!([]));
    for ours in &devices {
        // Its counters are read again after `ethtool` read them.
        let counters = run(&["-S", ours["name"].as_str().unwrap()]);
        let after = look();
        let again = after["devices"].as_array().unwrap().iter();
        let again = again
            .clone()
            .find(|nic| nic["index"] == ours["index"])
            .expect("it is still there")
            .clone();
        device(ours, &again, &|arguments| match arguments[0] {
            "-S" => counters.clone(),
            _ => run(arguments),
        });
    }
    devices
        .iter()
        .map(|nic| nic["driver"]["name"].as_str().unwrap_or("none").to_owned())
        .collect()
}

/// What it printed, whether it failed or not: it fails where a device lacks but a part.
fn ethtool(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ethtool")
        .args(arguments)
        .output()
        .expect("ethtool runs");
    Some(String::from_utf8(output.stdout).expect("text")).filter(|text| !text.trim().is_empty())
}

#[test]
fn devices_of_a_namespace_are_as_ethtool_says() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    pair.a
        .ip("link add q0 numrxqueues 4 numtxqueues 4 type veth peer name q1\nlink set q0 up")?;
    // veth has queues that can be changed from Linux 5.15 on.
    let resized = pair
        .a
        .exec("ethtool", &["-L", "q0", "rx", "2", "tx", "3"])
        .is_ok();
    pair.a
        .exec("ethtool", &["-K", "q0", "tso", "off", "gro", "on"])?;
    let nic = |netns: &Netns| tool::stack(netns)["nic"].clone();
    let drivers = compare(
        || nic(&pair.a),
        |arguments| {
            pair.a
                .enter(|| Ok(ethtool(arguments)))
                .expect("it can be entered")
        },
    );
    assert_eq!(drivers.iter().filter(|driver| *driver == "veth").count(), 3);
    let ours = nic(&pair.a);
    let devices = ours["devices"].as_array().unwrap();
    let q0 = devices.iter().find(|nic| nic["name"] == "q0").unwrap();
    if resized {
        let channels = &q0["channels"];
        assert_eq!(
            (&channels["rx"], &channels["tx_max"]),
            (&2.into(), &4.into())
        );
        let text = tool::text(&pair.a, "nic");
        assert!(text.contains("rx 2 of 4, tx 3 of 4"), "{text}");
    }
    assert_eq!(q0["features"]["tx-tcp-segmentation"]["on"], false);
    Ok(())
}

/// In the guests of `cargo xtask vm` one of them is a virtio card.
#[test]
fn devices_of_this_machine_are_as_ethtool_says() {
    let look = || {
        let read = pktjourney::stack::nic::read().expect("it can be read");
        serde_json::to_value(read).expect("JSON")
    };
    tool::is_described(&look(), "nics");
    let drivers = compare(look, ethtool);
    if std::env::var_os("PKTJOURNEY_VM").is_some() {
        assert!(
            drivers.iter().any(|driver| driver == "virtio_net"),
            "{drivers:?}"
        );
    }
}
