//! The hold window: puts the records of all rings into one order.
//!
//! Each CPU has its own ring, and a slot is sent when its packet is handed over or swept, so the parts of
//! one packet arrive in any order. They are held until no older one can come any more, and then given
//! on by (time, cpu, arrival). Records lie in buckets of about a millisecond, which are sorted as a
//! whole once they are due: that is cheaper than a heap, and nothing is moved but sort keys.

use std::collections::BTreeMap;

use crate::decode::Record;

/// Bucket number = time >> SHIFT: 2²⁰ ns.
const SHIFT: u32 = 20;

#[derive(Default, Debug)]
struct Bucket {
    /// (time, cpu, place in `records`: the order of arrival)
    keys: Vec<(u64, u16, u32)>,
    records: Vec<Record>,
}

/// Records that wait for older ones.
#[derive(Debug)]
pub(super) struct Hold {
    buckets: BTreeMap<u64, Bucket>,
    count: usize,
    limit: usize,
}

impl Hold {
    /// Holds at most `limit` records; beyond, the oldest are due early.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buckets: BTreeMap::new(),
            count: 0,
            limit,
        }
    }

    pub(super) fn push(&mut self, time: u64, cpu: u16, record: Record) {
        let bucket = self.buckets.entry(time >> SHIFT).or_default();
        let place = u32::try_from(bucket.records.len()).unwrap_or(u32::MAX);
        bucket.keys.push((time, cpu, place));
        bucket.records.push(record);
        self.count += 1;
    }

    pub(super) fn is_over_full(&self) -> bool {
        self.count > self.limit
    }

    /// The end of the last bucket that lies before `time` as a whole: everything up to there is due.
    pub(super) fn horizon(time: u64) -> u64 {
        (time >> SHIFT) << SHIFT
    }

    /// The oldest bucket's records in order, if all of it is older than `before`.
    pub(super) fn take(&mut self, before: u64) -> Option<Vec<(u64, Record)>> {
        let (&number, _) = self.buckets.first_key_value()?;
        if number >= before >> SHIFT {
            return None;
        }
        self.take_oldest()
    }

    /// The oldest bucket's records in order.
    pub(super) fn take_oldest(&mut self) -> Option<Vec<(u64, Record)>> {
        let (_, bucket) = self.buckets.pop_first()?;
        self.count -= bucket.records.len();
        let Bucket { mut keys, records } = bucket;
        keys.sort_unstable();
        let mut slots: Vec<Option<Record>> = records.into_iter().map(Some).collect();
        let sorted = keys.iter().filter_map(|&(time, _, place)| {
            let record = slots.get_mut(place as usize)?.take()?;
            Some((time, record))
        });
        Some(sorted.collect())
    }
}
