//! Keeps the balance: nothing is lost uncounted.

use trace_ebpf::{COUNTERS, Counter};

use super::model::{Journey, Ledger, Losses, Outcome, Unfinished};

/// The kernel side's counters, summed over CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelCounters(pub [u64; COUNTERS as usize]);

impl KernelCounters {
    /// One of them.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }
}

/// What was counted so far.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Balance {
    counted: Ledger,
    /// Journeys of which a part is missing.
    damaged_journeys: u64,
    pub(super) late: u64,
    pub(super) damaged: u64,
    pub(super) evicted: u64,
    pub(super) kernel: KernelCounters,
}

impl Balance {
    /// `lost`: a part in its middle is missing.
    pub(super) fn count(&mut self, journey: &Journey, lost: bool) {
        self.counted.count(journey.outcome);
        let cut = journey.outcome == Outcome::Unfinished(Unfinished::RecordLost);
        self.damaged_journeys += u64::from(journey.partial || cut || lost);
    }

    /// The kernel side counts as lost births all segments with headers that the ring had no room for.
    /// If another part of the packet got through, it is a journey, partial or cut off, and not to be counted
    /// twice.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = self.counted;
        ledger.lost = self
            .kernel
            .get(Counter::BirthsLost)
            .saturating_sub(self.damaged_journeys);
        ledger.seen += ledger.lost;
        ledger
    }

    pub(super) fn losses(&self) -> Losses {
        Losses {
            segments: self.kernel.get(Counter::SegmentsLost),
            births: self.kernel.get(Counter::BirthsLost),
            records: self.kernel.get(Counter::RecordsLost),
            late: self.late,
            damaged: self.damaged,
            evicted: self.evicted,
            missed: self.kernel.get(Counter::Missed),
        }
    }
}
