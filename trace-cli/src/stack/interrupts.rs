//! Interrupts of cards: how many each CPU took, and where they may go.
//!
//! `/proc/interrupts` (`kernel/irq/proc.c`) has a column for each CPU that is online. Which card an interrupt is of, sysfs says
//! (`msi_irqs` and `irq` of the card's bus device); without it, the name that the driver gave it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Serialize;

use super::{
    SectionError,
    files::{Files, names, value},
    growth::{Growth, counter32},
};

const SECTION: &str = "interrupts";

/// Interrupts of this namespace's cards.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Interrupts {
    /// One for each interrupt, by number.
    pub interrupts: Vec<Interrupt>,
    /// What could not be read.
    #[serde(skip)]
    pub missing: Vec<SectionError>,
}

/// One interrupt of a card; often there is one for each queue.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Interrupt {
    /// Its number.
    pub irq: u32,
    /// The card.
    pub interface: String,
    /// What the driver calls it.
    pub name: String,
    /// How often each CPU took it: count by CPU. Counters of 32 bits, which wrap.
    pub counts: BTreeMap<u32, u64>,
    /// CPUs that it may go to, as a list: `0-3,8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// CPUs that it really goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_affinity: Option<String>,
}

impl Interrupt {
    /// On all CPUs together.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

impl Growth for Interrupts {
    fn since(&self, earlier: &Self) -> Self {
        let growth = |now: &Interrupt| {
            let mut all = earlier.interrupts.iter();
            let before = all.find(|before| (before.irq, &before.name) == (now.irq, &now.name))?;
            let counts = now.counts.iter().filter_map(|(cpu, count)| {
                Some((*cpu, counter32(*count, *before.counts.get(cpu)?)))
            });
            Some(Interrupt {
                counts: counts.collect(),
                ..now.clone()
            })
        };
        Self {
            interrupts: self.interrupts.iter().filter_map(growth).collect(),
            missing: self.missing.clone(),
        }
    }
}

/// Reads them, for these interfaces.
///
/// # Errors
/// If there is no `/proc/interrupts`.
pub fn read(files: &Files, interfaces: &[&str]) -> Result<Interrupts, SectionError> {
    let text = files
        .proc("interrupts")
        .map_err(|error| SectionError::io(SECTION, "/proc/interrupts", &error))?;
    let mut missing = Vec::new();
    let cards: Vec<(&str, BTreeSet<u32>)> = match files.sys() {
        Ok(sys) => interfaces
            .iter()
            .map(|name| (*name, numbers_of(&sys.join("class/net").join(name))))
            .collect(),
        Err(why) => {
            missing.push(SectionError::new(
                SECTION,
                "interrupts whose name does not have the card's",
                why,
            ));
            interfaces
                .iter()
                .map(|name| (*name, BTreeSet::new()))
                .collect()
        }
    };
    let interrupts = parse(&text)
        .filter_map(|mut interrupt| {
            interrupt.interface = owner(&interrupt, &cards)?.to_owned();
            let list = |file: &str| {
                let path = format!("irq/{}/{file}", interrupt.irq);
                let text = files.proc(&path).ok()?;
                let text = text.trim();
                (!text.is_empty()).then(|| text.to_owned())
            };
            interrupt.affinity = list("smp_affinity_list");
            interrupt.effective_affinity = list("effective_affinity_list");
            Some(interrupt)
        })
        .collect();
    Ok(Interrupts {
        interrupts,
        missing,
    })
}

/// Whose interrupt it is: the card whose name it has in it, or whose number it is.
fn owner<'a>(interrupt: &Interrupt, cards: &[(&'a str, BTreeSet<u32>)]) -> Option<&'a str> {
    // Two ports may be one bus device, so the name goes first: `eth0-TxRx-3`, `mlx5_comp1@pci:…` has none.
    let named = |card: &str| {
        interrupt
            .name
            .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'))
            .any(|word| word == card)
    };
    let mut by_name = cards.iter().filter(|(card, _)| named(card));
    let mut by_number = cards
        .iter()
        .filter(|(_, numbers)| numbers.contains(&interrupt.irq));
    by_name
        .next()
        .or_else(|| by_number.next())
        .map(|(card, _)| *card)
}

/// Numbers of the interrupts of a card's bus device; that of a virtio card is the device above.
fn numbers_of(card: &Path) -> BTreeSet<u32> {
    let Ok(device) = fs::canonicalize(card.join("device")) else {
        return BTreeSet::new();
    };
    for folder in device.ancestors().take(2) {
        let mut numbers: BTreeSet<u32> = names(&folder.join("msi_irqs"))
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        numbers.extend(value::<u32>(&folder.join("irq")).filter(|irq| *irq > 0));
        if !numbers.is_empty() {
            return numbers;
        }
    }
    BTreeSet::new()
}

/// The CPUs that a first line names: `CPU0 CPU2 …`.
pub(super) fn heading(line: &str) -> Vec<u32> {
    line.split_whitespace()
        .map_while(|word| word.strip_prefix("CPU")?.parse().ok())
        .collect()
}

/// Interrupts that have a number: `number: count count … chip hwirq name, name`.
pub fn parse(text: &str) -> impl Iterator<Item = Interrupt> {
    let mut lines = text.lines();
    let cpus = heading(lines.next().unwrap_or_default());
    lines.filter_map(move |line| {
        let (number, rest) = line.split_once(':')?;
        let mut words = rest.split_whitespace();
        let counts: Option<BTreeMap<u32, u64>> = cpus
            .iter()
            .map(|cpu| Some((*cpu, words.next()?.parse().ok()?)))
            .collect();
        // What stands between counts and name differs from chip to chip; the name is the last word, or the last few of
        // an interrupt that is shared.
        let rest: Vec<&str> = words.collect();
        let shared = rest
            .iter()
            .rev()
            .skip(1)
            .take_while(|word| word.ends_with(','))
            .count();
        let name = rest.get(rest.len().saturating_sub(1 + shared)..)?.join(" ");
        Some(Interrupt {
            irq: number.trim().parse().ok()?,
            name,
            counts: counts?,
            ..Interrupt::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERRUPTS: &str = "\
           CPU0       CPU2       
 24:          1          0  IO-APIC   5-edge      ACPI:Ged
 38:          0      17575 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 60:          7 4294967295  IR-PCI-MSI 524288-edge      eth0-TxRx-0
 61:          3          4  IO-APIC  11-fasteoi   uhci_hcd:usb1, eth1
NMI:          0          0   Non-maskable interrupts
ERR:          0
";

    #[test]
    fn names_and_counts() {
        let all: Vec<_> = parse(INTERRUPTS).collect();
        let numbers: Vec<u32> = all.iter().map(|one| one.irq).collect();
        assert_eq!(numbers, [24, 38, 60, 61]);
        assert_eq!(all[1].name, "virtio2-input.0");
        assert_eq!(all[1].counts, BTreeMap::from([(0, 0), (2, 17575)]));
        assert_eq!(all[3].name, "uhci_hcd:usb1, eth1");
    }

    #[test]
    fn whose_interrupt_it_is() {
        let cards = [
            ("eth0", BTreeSet::new()),
            ("eth1", BTreeSet::new()),
            ("ens3", BTreeSet::from([38])),
        ];
        let owners: Vec<_> = parse(INTERRUPTS).map(|one| owner(&one, &cards)).collect();
        assert_eq!(owners, [None, Some("ens3"), Some("eth0"), Some("eth1")]);
    }

    #[test]
    fn counts_wrap() {
        let of = |text: &str| Interrupts {
            interrupts: parse(text).collect(),
            missing: Vec::new(),
        };
        let later = INTERRUPTS.replace("4294967295", "         2");
        assert_eq!(
            of(&later).since(&of(INTERRUPTS)).interrupts[2].counts[&2],
            3
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".*", cut in 0..INTERRUPTS.len()) {
            parse(&text).count();
            let whole: Vec<_> = parse(INTERRUPTS).map(|one| (one.irq, one.total())).collect();
            let part: Vec<_> = parse(&INTERRUPTS[..cut]).map(|one| (one.irq, one.total())).collect();
            // At most the last line's last count is cut short; cut in the first line, CPUs are missing.
            if cut > 35 {
                for pair in part.iter().zip(&whole).take(part.len().saturating_sub(1)) {
                    prop_assert_eq!(pair.0, pair.1);
                }
            }
        }
    }
}
