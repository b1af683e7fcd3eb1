//! Polls, counted by our own program, against softnet_stat's growth and the packets that were sent.

use std::{fs, process::Command};

use pktjourney::{
    lab::{Addresses, LabError, Netns, Pair, traffic::udp::Flow},
    stack::polls::{Counter, Polled, Polls},
};

use crate::tool;

const SENT: u64 = 3_000;

/// Packets that all CPUs have handled: `softnet_stat`'s first column, of 32 bits for each.
fn processed() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").expect("softnet_stat");
    let first = text.lines().filter_map(|line| line.split(' ').next());
    first
        .map(|word| u64::from_str_radix(word, 16).expect("hexadecimal"))
        .sum()
}

fn of<'a>(polls: &'a Polls, device: &str) -> Option<&'a Polled> {
    polls.devices.iter().find(|one| one.device == device)
}

#[test]
fn packets_of_the_backlog_are_those_sent_and_those_processed() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let before = processed();
    let mut counter = Counter::start().expect("counting needs root");
    flow.deliver(SENT, 100)?;
    let polls = counter.take();
    let grown = processed().wrapping_sub(before);
    let backlog = of(&polls, "backlog").expect("veth goes through the backlog");
    assert_eq!((backlog.index, &backlog.netns), (None, &None));
    // Others may use the machine's backlogs at the same time: more than ours, but never more than the kernel's own count.
    assert!(
        SENT <= backlog.packets && backlog.packets <= grown,
        "{grown}: {polls:?}"
    );
    assert!(
        0 < backlog.polls && backlog.polls <= backlog.packets,
        "{polls:?}"
    );
    assert!(backlog.full_polls <= backlog.polls, "{polls:?}");
    assert!(polls.interval_ns > 0 && polls.other_polls == 0, "{polls:?}");
    // What was counted before is not counted again.
    let again = counter.take();
    let packets = of(&again, "backlog").map_or(0, |backlog| backlog.packets);
    assert!(packets < SENT, "{again:?}");
    Ok(())
}

/// With GRO, and where its packets are fit for it, a veth has a NAPI of its own (since Linux 5.13).
#[test]
fn a_device_has_its_name_and_its_namespace() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    tool::run(&pair.a, "ethtool", &["-K", "a0", "tso", "off"]);
    tool::run(&pair.b, "ethtool", &["-K", "b0", "gro", "on"]);
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let mut counter = Counter::start().expect("counting needs root");
    flow.deliver(SENT, 100)?;
    let polls = counter.take();
    let is_ours = |one: &&Polled| one.netns.as_deref() == Some(pair.b.name());
    match polls.devices.iter().find(is_ours) {
        Some(device) => {
            assert_eq!(
                (device.device.as_str(), device.index.is_some()),
                ("b0", true)
            );
            assert!(device.packets >= SENT, "{polls:?}");
            // Nobody else sends to it; neighbour discovery may.
            assert!(device.packets < SENT + SENT / 10, "{polls:?}");
        }
        None => {
            let packets = of(&polls, "backlog").map_or(0, |backlog| backlog.packets);
            assert!(packets >= SENT, "{polls:?}");
        }
    }
    Ok(())
}

#[test]
fn one_look_says_how_long_it_took() -> Result<(), LabError> {
    let netns = Netns::new("polls")?;
    let text = tool::text(&netns, "softirq");
    assert!(text.contains("polls of devices, counted for "), "{text}");
    // Not where nobody asked for it.
    let machine = tool::only(&tool::records(&["--netns", netns.name()]), "machine");
    assert!(machine.get("polls").is_none(), "{machine}");
    Ok(())
}

#[test]
fn without_privilege_it_is_missing_by_name() {
    let binary = tool::binary();
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--",
        ])
        .arg(&binary)
        .args(["stack", "softirq"])
        .output();
    let output = output.expect("setpriv runs");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && text.is_empty() {
        // nobody may not run what lies in root's folders
        return;
    }
    assert!(
        text.contains("not seen: softirq: polls of devices"),
        "{text}"
    );
    assert!(text.contains("run it as root"), "{text}");
}
