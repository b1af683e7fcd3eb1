//! Polls, counted by our own program, against softnet_stat's growth and the packets that were sent.

use std::{process::Command, thread, time::Duration};

use pktjourney::lab::{Addresses, LabError, Netns, Pair, traffic::udp::Flow};
use serde_json::Value;

use crate::tool;

const SENT: u64 = 3_000;

fn sum(list: &Value, field: &str) -> u64 {
    let all = list.as_array().expect("a list").iter();
    all.map(|one| one[field].as_u64().expect("a number")).sum()
}

#[test]
fn packets_of_polls_are_those_sent_and_those_processed() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let records = thread::scope(|scope| {
        let options = [
            "softirq",
            "--netns",
            pair.b.name(),
            "--watch",
            "3s",
            "-c",
            "2",
        ];
        let looks = scope.spawn(move || tool::records(&options));
        // Between the two looks, or else the count is told to be missing below.
        thread::sleep(Duration::from_millis(1_500));
        flow.deliver(SENT, 100)?;
        Ok::<_, LabError>(looks.join().expect("the tool runs"))
    })?;
    let machines: Vec<_> = records
        .iter()
        .filter(|one| one["type"] == "machine")
        .collect();
    let [first, second] = machines[..] else {
        panic!("not two looks: {}", machines.len());
    };
    assert!(first.get("polls").is_none());
    tool::is_described(&second["polls"], "polls");
    let polls = &second["polls"];
    assert!(
        polls["interval_ns"].as_u64() > Some(2_000_000_000),
        "{polls}"
    );
    let devices = polls["devices"].as_array().expect("devices");
    let backlog = devices
        .iter()
        .find(|one| one["device"] == "backlog")
        .expect("veth goes through the backlog");
    let of = |name: &str| backlog[name].as_u64().expect("a number");
    // Others may use the machine's backlogs at the same time, so that there may be more, but never less.
    assert!(of("packets") >= SENT, "{polls}");
    assert!(of("polls") > 0 && of("polls") <= of("packets"), "{backlog}");
    assert!(of("full_polls") <= of("polls"), "{backlog}");
    // softnet_stat counts what a poll hands to the stack, where GRO may have merged packets of others' cards.
    let processed = sum(&second["growth"]["softirq"]["cpus"], "processed");
    let packets = sum(&polls["devices"], "packets");
    assert!(processed >= SENT, "{processed}");
    let (less, more) = (packets.min(processed), packets.max(processed));
    assert!(
        more - less <= more / 4,
        "{packets} polled, {processed} processed"
    );
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
