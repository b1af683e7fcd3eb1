//! Softirq and interrupts, which are the machine's: bounded by what the kernel's files say before and after.

use std::{collections::BTreeMap, fs};

use pktjourney::lab::{Addresses, LabError, Pair, traffic::udp::Flow};
use serde_json::Value;

use crate::tool;

/// Columns of `softnet_stat` by CPU, taken apart by awk.
fn softnet() -> Result<BTreeMap<u64, Vec<u64>>, LabError> {
    let script = "{ print $13, $1, $2, $3 }";
    let text = pktjourney::lab::run("awk", &[script, "/proc/net/softnet_stat"], "")?;
    let hex = |word: &str| u64::from_str_radix(word, 16).expect("hexadecimal");
    let lines = text
        .lines()
        .map(|line| line.split(' ').map(hex).collect::<Vec<_>>());
    Ok(lines.map(|line| (line[0], line[1..].to_vec())).collect())
}

#[test]
fn softnet_counters_lie_between_the_kernels() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let options = ["--netns", pair.b.name()];
    let before = softnet()?;
    let first = tool::only(&tool::records(&options), "machine");
    flow.deliver(5_000, 100)?;
    let second = tool::only(&tool::records(&options), "machine");
    let after = softnet()?;
    let mut processed = 0;
    let cpus = |record: &Value| record["softirq"]["cpus"].as_array().expect("CPUs").clone();
    assert_eq!(cpus(&first).len(), before.len());
    for (first, second) in cpus(&first).iter().zip(cpus(&second)) {
        let cpu = first["cpu"].as_u64().expect("a CPU");
        for (place, name) in ["processed", "dropped", "time_squeeze"].iter().enumerate() {
            let of = |record: &Value| record[*name].as_u64().expect("a number");
            let bounds = [
                before[&cpu][place],
                of(first),
                of(&second),
                after[&cpu][place],
            ];
            assert!(bounds.is_sorted(), "{name} of CPU {cpu}: {bounds:?}");
        }
        processed +=
            second["processed"].as_u64().unwrap_or(0) - first["processed"].as_u64().unwrap_or(0);
    }
    assert!(processed >= 5_000, "{processed}");
    let budget = fs::read_to_string("/proc/sys/net/core/netdev_budget").ok();
    let own = &second["softirq"]["settings"]["core/netdev_budget"];
    assert_eq!(
        budget.map(|text| text.trim().to_owned()),
        own.as_u64().map(|own| own.to_string())
    );
    Ok(())
}

#[test]
fn interrupts_of_cards_lie_between_the_kernels() -> Result<(), LabError> {
    let counts = || -> BTreeMap<u64, u64> {
        let text = fs::read_to_string("/proc/interrupts").expect("/proc/interrupts");
        let lines = text.lines().skip(1).filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let counts = rest
                .split_whitespace()
                .map_while(|word| word.parse::<u64>().ok());
            Some((number.trim().parse().ok()?, counts.sum()))
        });
        lines.collect()
    };
    let before = counts();
    let ours = tool::only(&tool::records(&[]), "stack");
    let after = counts();
    let interrupts = ours["interrupts"]["interrupts"]
        .as_array()
        .expect("interrupts")
        .clone();
    for one in &interrupts {
        let irq = one["irq"].as_u64().expect("a number");
        let by_cpu = one["counts"].as_object().expect("counts");
        let total: u64 = by_cpu.values().filter_map(Value::as_u64).sum();
        assert!(
            before[&irq] <= total && total <= after[&irq],
            "{one}: {total}"
        );
        let affinity = fs::read_to_string(format!("/proc/irq/{irq}/smp_affinity_list")).ok();
        assert_eq!(one["affinity"].as_str(), affinity.as_deref().map(str::trim));
    }
    // Each MSI of a card is among them.
    for card in fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
    {
        for folder in ["device/msi_irqs", "device/../msi_irqs"] {
            for entry in fs::read_dir(card.path().join(folder))
                .into_iter()
                .flatten()
                .flatten()
            {
                let irq: u64 = entry
                    .file_name()
                    .to_string_lossy()
                    .parse()
                    .expect("a number");
                let known = interrupts.iter().any(|one| one["irq"] == irq);
                assert!(
                    known || !before.contains_key(&irq),
                    "{irq} of {:?}",
                    card.path()
                );
            }
        }
    }
    Ok(())
}
