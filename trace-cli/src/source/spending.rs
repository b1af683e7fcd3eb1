//! What a trace with a budget takes, and what follows from it.
//!
//! While the kernel counts the time in programs, each of their runs costs two readings of the clock more: nearly as much as the
//! whole rest. So it counts for a part of each period only, and that part stands for all of it.

use std::os::fd::OwnedFd;

use crate::{
    budget::{Governor, Share, Spent},
    kernel::{
        clock::{monotonic_ns, process_cpu_ns},
        privileges::as_admin,
    },
    probe::{Loaded, counts},
};

/// What was taken is looked at this often.
const PERIOD_NS: u64 = 500_000_000;
/// … and for so long the kernel counts.
const WINDOW_NS: u64 = 20_000_000;

/// The account of a trace with a budget.
pub(super) struct Spending {
    governor: Governor,
    /// Of this process, when the trace began: not in the account.
    own_before: u64,
    /// Since then, when a period ended last, and when that was.
    spent: Spent,
    at: u64,
    counting: Counting,
    /// What the last window counted, and how long it was; no time at all before the first.
    rate: (u64, u64),
}

enum Counting {
    /// Not now.
    Pause,
    /// Since then, from this sum on.
    Window {
        since: u64,
        from: u64,
        _statistics: Option<OwnedFd>,
    },
}

impl Spending {
    /// Begins now.
    pub(super) fn new(share: Share, loaded: &Loaded) -> Self {
        Self {
            governor: Governor::new(share, loaded.one_in()),
            own_before: process_cpu_ns(),
            spent: Spent::default(),
            at: monotonic_ns(),
            counting: Counting::Pause,
            rate: (0, 0),
        }
    }

    /// What was taken when a period ended last, and when that was.
    pub(super) const fn spent(&self) -> (Spent, u64) {
        (self.spent, self.at)
    }

    /// Looks at the clock; at the end of a period, follows as many flows as that says. True then.
    pub(super) fn look(&mut self, loaded: &mut Loaded) -> bool {
        let now = monotonic_ns();
        match &self.counting {
            Counting::Pause => {
                // the first one at once, so that a short trace has one
                let first = self.rate.1 == 0;
                if (first || now.saturating_sub(self.at) + WINDOW_NS >= PERIOD_NS)
                    && let Ok(statistics) = as_admin(counts::statistics)
                {
                    self.counting = Counting::Window {
                        since: now,
                        from: loaded.programs_ns(),
                        _statistics: statistics,
                    };
                }
                false
            }
            Counting::Window { since, from, .. } => {
                let counted = now.saturating_sub(*since);
                if counted < WINDOW_NS {
                    return false;
                }
                self.rate = (loaded.programs_ns().saturating_sub(*from), counted);
                self.counting = Counting::Pause;
                if now.saturating_sub(self.at) < PERIOD_NS {
                    return false;
                }
                let took = self.add(now, loaded.cpus());
                let one_in = loaded.one_in();
                let next = self.governor.next(took, one_in);
                if next != one_in {
                    // what the kernel refuses is not told either: `one_in` is what it took
                    let _ = loaded.follow(next);
                }
                true
            }
        }
    }

    /// A last period ends now; from here on no programs run.
    pub(super) fn end(&mut self, cpus: u32) {
        self.counting = Counting::Pause;
        self.add(monotonic_ns(), cpus);
        self.rate = (0, 1);
    }

    /// A period ended: gives what share of the CPUs' time it took.
    fn add(&mut self, now: u64, cpus: u32) -> Share {
        let passed = now.saturating_sub(self.at);
        let (ns, counted) = self.rate;
        let programs = u128::from(ns) * u128::from(passed) / u128::from(counted.max(1));
        let before = self.spent;
        self.spent = Spent {
            programs_ns: before
                .programs_ns
                .saturating_add(u64::try_from(programs).unwrap_or(u64::MAX)),
            own_ns: process_cpu_ns().saturating_sub(self.own_before),
        };
        self.at = now;
        self.spent.since(before).share(passed, cpus)
    }
}
