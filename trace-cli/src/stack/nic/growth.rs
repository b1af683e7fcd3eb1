//! What a driver's counters became between two readings.

use super::{Counter, Nic, Nics};
use crate::stack::growth::{Growth, counter};

impl Growth for Nics {
    fn since(&self, earlier: &Self) -> Self {
        let devices = self.devices.iter().filter_map(|now| {
            let same = |before: &&Nic| (before.index, &before.name) == (now.index, &now.name);
            Some(now.since(earlier.devices.iter().find(same)?))
        });
        Self {
            devices: devices.collect(),
            missing: self.missing.clone(),
        }
    }
}

impl Growth for Nic {
    fn since(&self, earlier: &Self) -> Self {
        let counters = self.counters.as_deref().zip(earlier.counters.as_deref());
        Self {
            counters: counters.and_then(|(now, before)| grown(now, before)),
            ..self.clone()
        }
    }
}

/// Counters by their place, as names may be there twice; none if the driver has others now.
fn grown(now: &[Counter], before: &[Counter]) -> Option<Vec<Counter>> {
    let same = now.len() == before.len()
        && now
            .iter()
            .zip(before)
            .all(|(now, before)| now.name == before.name);
    same.then(|| {
        now.iter()
            .zip(before)
            .map(|(now, before)| Counter {
                value: counter(now.value, before.value),
                ..now.clone()
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_counters_only() {
        let counters = |values: &[(&str, u64)]| -> Vec<Counter> {
            let all = values.iter();
            all.map(|(name, value)| Counter::new("vmxnet3", name, *value))
                .collect()
        };
        let (now, before) = ([("ucast", 7), ("ucast", 3)], [("ucast", 5), ("ucast", 3)]);
        let grown_by = grown(&counters(&now), &counters(&before)).unwrap();
        assert_eq!(grown_by, counters(&[("ucast", 2), ("ucast", 0)]));
        assert_eq!(grown(&counters(&now), &counters(&before[..1])), None);
        assert_eq!(
            grown(&counters(&now), &counters(&[("ucast", 7), ("mcast", 3)])),
            None
        );
    }
}
