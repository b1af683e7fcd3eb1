//! `--watch`, `--netns` and `--all-netns`.

use std::thread;

use pktjourney::lab::{Addresses, LabError, Pair, traffic::udp::Flow};
use serde_json::Value;

use crate::tool;

#[test]
fn growth_is_what_was_counted_between() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let records = thread::scope(|scope| {
        let options = ["--watch", "300ms", "-c", "4", "--netns", pair.b.name()];
        let watch = scope.spawn(move || tool::records(&options));
        // As long as it looks, which in an emulated machine begins late; a minute at most.
        for _ in 0..1_200 {
            flow.deliver(10, 64)?;
            thread::sleep(std::time::Duration::from_millis(50));
            if watch.is_finished() {
                break;
            }
        }
        Ok::<_, LabError>(watch.join().expect("the tool"))
    })?;
    let stacks: Vec<&Value> = records
        .iter()
        .filter(|one| one["type"] == "stack")
        .collect();
    assert_eq!(stacks.len(), 4);
    assert!(stacks[0].get("growth").is_none());
    let mut moved = false;
    for pair in stacks.windows(2) {
        let growth = &pair[1]["growth"];
        let ns = |record: &Value| record["taken_ns"].as_u64().expect("ns");
        assert_eq!(growth["interval_ns"], ns(pair[1]) - ns(pair[0]));
        for (name, now) in pair[1]["protocols"]["counters"]
            .as_object()
            .expect("counters")
        {
            let before = pair[0]["protocols"]["counters"][name]
                .as_u64()
                .expect("a number");
            let grown = now.as_u64().expect("a number") - before;
            assert_eq!(growth["protocols"]["counters"][name], grown, "{name}");
        }
        moved |= growth["protocols"]["counters"]["UdpInDatagrams"] != 0;
    }
    assert!(moved);
    Ok(())
}

#[test]
fn all_namespaces_are_there_once() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let records = tool::records(&["--all-netns"]);
    for netns in [&pair.a, &pair.b] {
        let here = |one: &&Value| one["type"] == "stack" && one["inode"] == netns.inode();
        let found: Vec<_> = records.iter().filter(here).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["name"], netns.name());
        let interfaces = found[0]["interfaces"]["interfaces"]
            .as_array()
            .expect("interfaces");
        assert_eq!(interfaces.len(), 2);
    }
    let own = pktjourney::kernel::netns::own().expect("our own");
    assert!(
        records
            .iter()
            .any(|one| one["type"] == "stack" && one["inode"] == own)
    );
    Ok(())
}
