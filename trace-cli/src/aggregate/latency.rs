//! Where the time goes: a histogram for each direction and stage.
//!
//! Only journeys that ran their course count: of a packet that was dropped, or whose beginning or end was not seen, the
//! total is not comparable with the others'. What was left out is said ([`Excluded`]). A span that holds more
//! than its name says (a gap) gets a row of its own, so that it does not spoil the measured ones.
//!
//! Memory is bounded by the stages there are: each histogram grows with the range of its values to at most 60 kB.

use hdrhistogram::Histogram;

use crate::journey::model::{Direction, Journey, Outcome, Stage, StageState};
use crate::journey::stage::StageName;

/// Two significant digits: no percentile is off by more than 1 %.
const DIGITS: u8 = 2;

/// Collects journeys' stages.
#[derive(Debug, Default)]
pub struct Latency {
    /// By [`place`]; as long as need be.
    series: Vec<Option<Series>>,
    excluded: Excluded,
    /// Memory of [`sum_by_leg`].
    sums: Vec<(u16, StageName, StageState, u64)>,
}

const DIRECTIONS: [Direction; 4] = [
    Direction::Receive,
    Direction::Transmit,
    Direction::Forward,
    Direction::Loop,
];

/// Where the figures of a direction and stage lie; of no stage, those of the total.
const fn place(direction: Direction, stage: Option<StageName>, state: StageState) -> usize {
    let total = StageName::ALL.len();
    let stage = match stage {
        Some(stage) => stage as usize,
        None => total,
    };
    (direction as usize * (total + 1) + stage) * 2 + state as usize
}

/// Whether a leg passed a stage more than once.
fn any_twice(stages: &[Stage]) -> bool {
    let (mut leg, mut met) = (0, 0_u64);
    stages.iter().any(|stage| {
        if stage.leg > leg {
            (leg, met) = (stage.leg, 0);
        }
        let bit = 1 << stage.name as u8;
        let twice = met & bit != 0 || stage.leg < leg;
        met |= bit;
        twice
    })
}

const _: () = assert!(StageName::ALL.len() <= u64::BITS as usize);

/// The stages of one leg with one name are one.
fn sum_by_leg(stages: &[Stage], sums: &mut Vec<(u16, StageName, StageState, u64)>) {
    for stage in stages {
        let same = sums
            .iter_mut()
            .find(|(leg, name, ..)| (*leg, *name) == (stage.leg, stage.name));
        match same {
            // Part of the sum is a gap: so is the sum.
            Some((_, _, state, ns)) => {
                *state = (*state).max(stage.state);
                *ns += stage.ns;
            }
            None => sums.push((stage.leg, stage.name, stage.state, stage.ns)),
        }
    }
}

#[derive(Debug)]
struct Series {
    histogram: Histogram<u64>,
    sum: u128,
    max: u64,
}

/// Journeys that were not counted, by why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Excluded {
    /// They were dropped.
    pub dropped: u64,
    /// Their end was not seen.
    pub unfinished: u64,
    /// Their beginning was not seen.
    pub partial: u64,
}

/// The figures of one direction and stage.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LatencyRow {
    /// The journeys' direction.
    pub direction: Direction,
    /// The stage; `None` for the journeys' total.
    pub stage: Option<StageName>,
    /// Whether the figures are of the stage alone.
    pub state: StageState,
    /// How many legs passed the stage (how many journeys, for the total).
    pub count: u64,
    /// Half took at most this, ns.
    pub p50_ns: u64,
    /// 90 % took at most this, ns.
    pub p90_ns: u64,
    /// 99 % took at most this, ns.
    pub p99_ns: u64,
    /// 99.9 % took at most this, ns.
    pub p999_ns: u64,
    /// The longest, exact, ns.
    pub max_ns: u64,
    /// All together, exact, ns.
    pub sum_ns: u128,
    /// Part of the direction's time, from 0 to 1.
    pub share: f64,
}

impl Latency {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a journey.
    pub fn add(&mut self, journey: &Journey) {
        match journey.outcome {
            Outcome::Dropped => self.excluded.dropped += 1,
            Outcome::Unfinished(_) => self.excluded.unfinished += 1,
            _ if journey.partial => self.excluded.partial += 1,
            _ => self.count(journey),
        }
    }

    fn count(&mut self, journey: &Journey) {
        let direction = journey.direction;
        if any_twice(&journey.stages) {
            let mut sums = std::mem::take(&mut self.sums);
            sum_by_leg(&journey.stages, &mut sums);
            for (_, stage, state, ns) in sums.drain(..) {
                self.series(direction, Some(stage), state).add(ns);
            }
            self.sums = sums;
        } else {
            for stage in &journey.stages {
                self.series(direction, Some(stage.name), stage.state)
                    .add(stage.ns);
            }
        }
        self.series(direction, None, StageState::Measured)
            .add(journey.total);
    }

    #[inline]
    fn series(
        &mut self,
        direction: Direction,
        stage: Option<StageName>,
        state: StageState,
    ) -> &mut Series {
        let place = place(direction, stage, state);
        if self.series.len() <= place {
            self.series.resize_with(place + 1, || None);
        }
        self.series[place].get_or_insert_default()
    }

    /// The figures: by direction, in a packet's order, each direction's total last.
    pub fn rows(&self) -> Vec<LatencyRow> {
        let at =
            |direction, stage, state| self.series.get(place(direction, stage, state))?.as_ref();
        let mut rows = Vec::new();
        for direction in DIRECTIONS {
            let total = at(direction, None, StageState::Measured).map_or(0, |series| series.sum);
            let stages = StageName::ALL.iter().copied().map(Some);
            for stage in stages.chain([None]) {
                for state in [StageState::Measured, StageState::Gap] {
                    if let Some(series) = at(direction, stage, state) {
                        rows.push(series.row(direction, stage, state, total));
                    }
                }
            }
        }
        rows.sort_by_key(|row| (row.direction, rank(row.direction, row.stage), row.state));
        rows
    }

    /// What was left out.
    pub const fn excluded(&self) -> Excluded {
        self.excluded
    }
}

impl Default for Series {
    fn default() -> Self {
        Self {
            histogram: Histogram::new(DIGITS)
                .expect("two significant digits are within the crate's limits"),
            sum: 0,
            max: 0,
        }
    }
}

impl Series {
    fn add(&mut self, ns: u64) {
        // It grows to take any value; should that fail, the value counts as the largest there is room for.
        if self.histogram.record(ns).is_err() {
            self.histogram.saturating_record(ns);
        }
        self.sum += u128::from(ns);
        self.max = self.max.max(ns);
    }

    fn row(
        &self,
        direction: Direction,
        stage: Option<StageName>,
        state: StageState,
        total: u128,
    ) -> LatencyRow {
        let quantile = |q| self.histogram.value_at_quantile(q).min(self.max);
        LatencyRow {
            direction,
            stage,
            state,
            count: self.histogram.len(),
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            max_ns: self.max,
            sum_ns: self.sum,
            share: share(self.sum, total),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more than a double's 53 bits"
)]
fn share(part: u128, whole: u128) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

/// A stage's place in the way of a packet of that direction: what is sent goes out before it comes in. The total is last.
fn rank(direction: Direction, stage: Option<StageName>) -> usize {
    let outbound = matches!(direction, Direction::Transmit | Direction::Loop);
    let Some(stage) = stage else {
        return usize::MAX;
    };
    let (here, first_out) = (stage as usize, StageName::Send as usize);
    match stage {
        // After OUTPUT, where it is decided again.
        StageName::Routing if outbound => 2 * (StageName::Output as usize - first_out) + 1,
        _ if outbound && here >= first_out => 2 * (here - first_out),
        _ if outbound => 2 * (here + StageName::ALL.len()),
        _ => 2 * here,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::model::{Stage, Unfinished};
    use crate::sink::sample;

    fn journey(stages: &[(StageName, u16, u64)]) -> Journey {
        let mut start = 0;
        let stages: Vec<Stage> = stages
            .iter()
            .map(|&(name, leg, ns)| {
                start += ns;
                Stage {
                    name,
                    leg,
                    start: start - ns,
                    ns,
                    cpu: 0,
                    state: StageState::Measured,
                }
            })
            .collect();
        Journey {
            total: start,
            stages,
            ..sample::delivered()
        }
    }

    #[test]
    fn percentiles_are_within_one_percent() {
        let mut latency = Latency::new();
        for ns in 1..=100_000_u64 {
            latency.add(&journey(&[(StageName::Ip, 0, ns * 37)]));
        }
        let rows = latency.rows();
        let row = rows.first().expect("a row");
        for (got, part) in [
            (row.p50_ns, 500),
            (row.p90_ns, 900),
            (row.p99_ns, 990),
            (row.p999_ns, 999),
        ] {
            let exact = part * 100 * 37;
            assert!(got.abs_diff(exact) * 100 <= exact, "{got} is not {exact}");
        }
        assert_eq!(row.max_ns, 3_700_000);
        assert_eq!(row.count, 100_000);
    }

    #[test]
    fn a_stage_met_twice_in_a_leg_is_summed_and_in_another_leg_counted_again() {
        let mut latency = Latency::new();
        latency.add(&journey(&[
            (StageName::Routing, 0, 10),
            (StageName::Ip, 0, 5),
            (StageName::Routing, 0, 20),
            (StageName::Routing, 1, 7),
        ]));
        let routing = latency
            .rows()
            .into_iter()
            .find(|r| r.stage == Some(StageName::Routing))
            .expect("a row");
        assert_eq!((routing.count, routing.max_ns, routing.sum_ns), (2, 30, 37));
        assert!((routing.share - 37.0 / 42.0).abs() < 1e-12);
    }

    #[test]
    fn gaps_have_their_own_row() {
        let mut latency = Latency::new();
        let mut with_gap = journey(&[(StageName::Ip, 0, 1000)]);
        with_gap
            .stages
            .iter_mut()
            .for_each(|s| s.state = StageState::Gap);
        latency.add(&journey(&[(StageName::Ip, 0, 10)]));
        latency.add(&with_gap);
        let states: Vec<_> = latency
            .rows()
            .iter()
            .map(|r| (r.stage, r.state, r.max_ns))
            .collect();
        assert_eq!(
            states,
            [
                (Some(StageName::Ip), StageState::Measured, 10),
                (Some(StageName::Ip), StageState::Gap, 1000),
                (None, StageState::Measured, 1000),
            ]
        );
    }

    #[test]
    fn what_did_not_run_its_course_is_left_out_and_said() {
        let mut latency = Latency::new();
        latency.add(&Journey {
            outcome: Outcome::Dropped,
            ..sample::delivered()
        });
        latency.add(&Journey {
            outcome: Outcome::Unfinished(Unfinished::Aged),
            ..sample::delivered()
        });
        latency.add(&Journey {
            partial: true,
            ..sample::delivered()
        });
        assert_eq!(latency.rows(), []);
        assert_eq!(
            latency.excluded(),
            Excluded {
                dropped: 1,
                unfinished: 1,
                partial: 1
            }
        );
    }

    #[test]
    fn a_loop_goes_out_before_it_comes_in() {
        let order = [
            StageName::Send,
            StageName::Output,
            StageName::Routing,
            StageName::Completion,
            StageName::Ip,
        ];
        let ranks: Vec<_> = order
            .iter()
            .map(|&s| rank(Direction::Loop, Some(s)))
            .collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert!(
            rank(Direction::Receive, Some(StageName::Ip))
                < rank(Direction::Receive, Some(StageName::Routing))
        );
    }

    #[test]
    fn extreme_durations_are_kept() {
        let mut latency = Latency::new();
        latency.add(&journey(&[
            (StageName::SocketQueue, 0, u64::MAX / 4),
            (StageName::Recv, 0, 0),
        ]));
        let rows = latency.rows();
        assert_eq!(rows.iter().map(|r| r.max_ns).max(), Some(u64::MAX / 4));
        assert_eq!(rows.iter().map(|r| r.p50_ns).min(), Some(0));
    }
}
