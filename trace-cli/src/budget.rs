//! `--budget`: what tracing may take of the host's CPU time, and for how many flows that is enough.
//!
//! The live source asks a [`Governor`] how many to follow; what it came to travels in the stream's counters, and the pipeline
//! tells it by a [`Teller`].

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};
use trace_ebpf::Counter;

use crate::{
    session::Session,
    source::item::{Counters, counter},
};

/// A part of the CPU time that all CPUs of the host have, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    const WHOLE: u64 = 1_000_000;

    /// So many nanoseconds of all there were; never more than the whole.
    pub fn of(ns: u64, all_ns: u64) -> Self {
        let part = u128::from(ns) * u128::from(Self::WHOLE) / u128::from(all_ns.max(1));
        Self(part.min(u128::from(Self::WHOLE)) as u32)
    }

    /// Between 0 and 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / Self::WHOLE as f64
    }
}

impl fmt::Display for Share {
    /// As percent: `2 %`, `0.35 %`, `12.3 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.part() * 100.0;
        let digits = match percent {
            10.0.. => 1,
            1.0.. => 2,
            _ => 4,
        };
        let text = format!("{percent:.digits$}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{text} %")
    }
}

/// What was asked for, and of whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Budget {
    /// The most that tracing may take.
    pub share: Share,
    /// CPUs of the host.
    pub cpus: u32,
}

/// CPU time that tracing took, ns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spent {
    /// In the eBPF programs, on whatever CPU and in whosever time they ran.
    pub programs_ns: u64,
    /// Of this process.
    pub own_ns: u64,
}

impl Spent {
    /// What was added.
    pub const fn since(self, before: Self) -> Self {
        Self {
            programs_ns: self.programs_ns.saturating_sub(before.programs_ns),
            own_ns: self.own_ns.saturating_sub(before.own_ns),
        }
    }

    /// What share that is of the time of so many CPUs, while so much passed.
    pub fn share(self, passed_ns: u64, cpus: u32) -> Share {
        let ns = self.programs_ns.saturating_add(self.own_ns);
        Share::of(ns, passed_ns.saturating_mul(u64::from(cpus)))
    }
}

/// One flow in so many is the least that is followed, counted from what was asked for.
const LEAST: NonZeroU32 = NonZeroU32::new(1 << 10).unwrap();
/// For so many periods there must be room, before twice as many flows are tried …
const PATIENCE: u32 = 4;
/// … and for no more than so many, however often that turned out to be too much.
const MOST_PATIENCE: u32 = 1_200;

/// Decides, period after period, how many flows can be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Governor {
    budget: Share,
    /// One in so many is the most that is wanted.
    most: NonZeroU32,
    /// Periods in a row that left room.
    quiet: u32,
    patience: u32,
    /// The last change was to more.
    raised: bool,
}

impl Governor {
    /// At most one flow in `most` is wanted.
    pub const fn new(budget: Share, most: NonZeroU32) -> Self {
        Self {
            budget,
            most,
            quiet: 0,
            patience: PATIENCE,
            raised: false,
        }
    }

    /// One flow in how many shall be followed after a period that took so much with one in `one_in`. It is always a power of
    /// two times what was wanted at most, so that what is followed is a part of what was followed, or the other way round.
    pub fn next(&mut self, took: Share, one_in: NonZeroU32) -> NonZeroU32 {
        if took > self.budget {
            // what a raise brought does not fit: it is tried again, but later each time
            if self.raised {
                self.patience = (self.patience * 2).min(MOST_PATIENCE);
            }
            (self.raised, self.quiet) = (false, 0);
            let times = took.0.div_ceil(self.budget.0.max(1));
            let fewer = one_in.get().saturating_mul(times.next_power_of_two());
            let least = least(self.most);
            return NonZeroU32::new(fewer).map_or(least, |fewer| fewer.min(least));
        }
        // less than four fifths
        let room = u64::from(took.0) * 5 < u64::from(self.budget.0) * 4;
        if !room || one_in <= self.most {
            self.quiet = 0;
            return one_in;
        }
        self.quiet += 1;
        // twice as many take twice as much at most: what surely fits need not wait as long
        let fits = took.0 <= self.budget.0 / 3;
        let patience = if fits { PATIENCE } else { self.patience };
        if self.quiet < patience {
            return one_in;
        }
        if self.raised {
            self.patience = PATIENCE;
        }
        (self.raised, self.quiet) = (true, 0);
        NonZeroU32::new(one_in.get() / 2).map_or(self.most, |half| half.max(self.most))
    }
}

/// The fewest that are followed, where one in `most` is wanted.
const fn least(most: NonZeroU32) -> NonZeroU32 {
    most.saturating_mul(LEAST)
}

/// Follows the counters of a stream, and says what became of the budget.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    budget: Budget,
    least: u32,
    /// When the last period ended, and what had been spent by then.
    at: u64,
    spent: Spent,
    one_in: u32,
    changes: u32,
    exceeded: bool,
}

/// How it came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// What was allowed.
    pub budget: Share,
    /// What was spent.
    pub spent: Spent,
    /// What part of the host's CPU time that was.
    pub took: Share,
    /// One flow in so many was followed at last.
    pub one_in: u32,
    /// How often that was changed.
    pub changes: u32,
}

impl Teller {
    /// For a trace with a budget.
    pub fn of(session: &Session) -> Option<Self> {
        let most = session.sample.map_or(1, |sample| sample.one_in);
        let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
        Some(Self::new(session.budget?, session.start_ns, most))
    }

    /// A stream that began then, with one flow in `most` followed.
    const fn new(budget: Budget, start: u64, most: NonZeroU32) -> Self {
        Self {
            budget,
            least: least(most).get(),
            at: start,
            spent: Spent {
                programs_ns: 0,
                own_ns: 0,
            },
            one_in: most.get(),
            changes: 0,
            exceeded: false,
        }
    }

    /// What there is to say at a tick.
    pub fn tick(&mut self, counters: &Counters) -> Option<String> {
        let at = counter(counters, Counter::SpentAt);
        if at <= self.at {
            return None;
        }
        let spent = Spent {
            programs_ns: counter(counters, Counter::ProgramsNs),
            own_ns: counter(counters, Counter::OwnNs),
        };
        let passed = at.saturating_sub(self.at);
        let took = spent.since(self.spent).share(passed, self.budget.cpus);
        (self.at, self.spent) = (at, spent);
        let budget = self.budget.share;
        let one_in = counter(counters, Counter::OneIn) as u32;
        if one_in != self.one_in {
            self.one_in = one_in;
            self.changes += 1;
            let followed = if one_in <= 1 {
                "all flows are".to_owned()
            } else {
                format!("one flow in {one_in} is")
            };
            return Some(format!(
                "tracing took {took} of the CPUs' time, the budget is {budget}: {followed} followed from now on"
            ));
        }
        if took > budget && one_in >= self.least && !self.exceeded {
            self.exceeded = true;
            return Some(format!(
                "tracing takes {took} of the CPUs' time even with one flow in {one_in}: to keep to the budget of {budget}, \
                 attach fewer hooks (--stages few), or look at drops alone"
            ));
        }
        None
    }

    /// The whole, after so long.
    pub fn account(&self, duration_ns: u64) -> Account {
        Account {
            budget: self.budget.share,
            spent: self.spent,
            took: self.spent.share(duration_ns, self.budget.cpus),
            one_in: self.one_in,
            changes: self.changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(percent: f64) -> Share {
        Share::of((percent * 10_000.0) as u64, 1_000_000)
    }

    fn one_in(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).expect("no zero")
    }

    /// What follows from each of these, in percent of the CPUs' time, with a budget of 2 %.
    fn follow(governor: &mut Governor, from: u32, took: &[f64]) -> Vec<u32> {
        let mut now = one_in(from);
        took.iter()
            .map(|&took| {
                now = governor.next(share(took), now);
                now.get()
            })
            .collect()
    }

    fn governor(most: u32) -> Governor {
        Governor::new(share(2.0), one_in(most))
    }

    #[test]
    fn shares_are_percent() {
        for (part, shown) in [
            (share(2.0), "2 %"),
            (share(0.35), "0.35 %"),
            (share(0.0123), "0.0123 %"),
            (share(0.0001), "0.0001 %"),
            (share(12.345), "12.3 %"),
            (share(100.0), "100 %"),
            (Share::of(3, 2), "100 %"),
            (Share::of(0, 0), "0 %"),
            (Share::of(u64::MAX, u64::MAX), "100 %"),
        ] {
            assert_eq!(part.to_string(), shown);
        }
    }

    #[test]
    fn what_is_too_much_is_divided_at_once() {
        assert_eq!(follow(&mut governor(1), 1, &[2.0, 2.1]), [1, 2]);
        assert_eq!(follow(&mut governor(1), 1, &[7.0, 9.0]), [4, 32]);
        // of what was asked for, and not below the least
        assert_eq!(follow(&mut governor(3), 3, &[3.0, 100.0]), [6, 384]);
        let all_of_it = follow(&mut governor(3), 3, &[100.0; 4]);
        assert_eq!(all_of_it.last(), Some(&(3 * 1024)));
        let largest = u32::MAX - 1;
        assert_eq!(
            follow(&mut governor(largest), largest, &[100.0; 2]),
            [u32::MAX; 2]
        );
    }

    #[test]
    fn with_room_more_are_followed_step_by_step() {
        let mut calm = governor(1);
        assert_eq!(
            follow(&mut calm, 4, &[0.1; 10]),
            [4, 4, 4, 2, 2, 2, 2, 1, 1, 1]
        );
        assert_eq!(
            follow(&mut governor(5), 10, &[0.0; 6]),
            [10, 10, 10, 5, 5, 5]
        );
        // just under the budget is no room
        assert_eq!(follow(&mut governor(1), 4, &[1.7; 20]), [4; 20]);
    }

    #[test]
    fn what_turned_out_to_be_too_much_is_tried_ever_more_seldom() {
        let mut governor = governor(1);
        let mut now = one_in(4);
        let mut raised = Vec::new();
        for period in 0..2_000 {
            // one in four takes 1.2 %, one in two 2.2 %
            let took = share(if now.get() == 4 { 1.2 } else { 2.2 });
            let next = governor.next(took, now);
            if next < now {
                raised.push(period);
            }
            now = next;
        }
        assert!(raised.len() < 10, "{raised:?}");
        let pauses: Vec<_> = raised.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        // when the load has gone, it does not wait so long
        assert!(follow(&mut governor, 4, &[0.01; 8]).ends_with(&[1]));
    }

    #[test]
    fn changes_and_failure_are_told_once() {
        let budget = Budget {
            share: share(2.0),
            cpus: 4,
        };
        let mut teller = Teller::new(budget, 0, one_in(1));
        let counters = |at: u64, programs: u64, own: u64, one_in: u64| {
            let mut counters = Counters::default();
            counters[Counter::SpentAt as usize] = at;
            counters[Counter::ProgramsNs as usize] = programs;
            counters[Counter::OwnNs as usize] = own;
            counters[Counter::OneIn as usize] = one_in;
            counters
        };
        // nothing was read yet
        assert_eq!(teller.tick(&counters(0, 0, 0, 1)), None);
        let said = teller.tick(&counters(1_000, 100, 20, 2));
        assert_eq!(
            said.as_deref(),
            Some(
                "tracing took 3 % of the CPUs' time, the budget is 2 %: one flow in 2 is followed from now on"
            )
        );
        // no new period
        assert_eq!(teller.tick(&counters(1_000, 100, 20, 2)), None);
        let said = teller.tick(&counters(2_000, 140, 20, 1));
        assert_eq!(
            said.as_deref(),
            Some(
                "tracing took 1 % of the CPUs' time, the budget is 2 %: all flows are followed from now on"
            )
        );
        teller.tick(&counters(3_000, 340, 20, 1_024));
        let said = teller.tick(&counters(4_000, 540, 20, 1_024));
        assert!(said.is_some_and(|said| {
            said.contains("takes 5 % of the CPUs' time even with one flow in 1024")
        }),);
        assert_eq!(teller.tick(&counters(5_000, 740, 20, 1_024)), None);
        assert_eq!(
            teller.account(5_000),
            Account {
                budget: share(2.0),
                spent: Spent {
                    programs_ns: 740,
                    own_ns: 20
                },
                took: share(3.8),
                one_in: 1_024,
                changes: 3,
            }
        );
    }
}
