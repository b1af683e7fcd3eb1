//! From the kernel's monotonic clock, which stamps are taken with, to the time of day.

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

const NS: i128 = 1_000_000_000;
const SAMPLES: usize = 32;

/// What `CLOCK_REALTIME` was ahead of `CLOCK_MONOTONIC` when it was measured.
///
/// Taken once for each session, so that times within it keep their order and distance even when someone sets the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Add this to a monotonic time to get nanoseconds since 1970.
    pub offset_ns: i64,
    /// It may be wrong by this much: half the time the closest reading took.
    pub uncertainty_ns: u64,
}

impl ClockOffset {
    /// Measures: the two clocks cannot be read at once, so one is read between two readings of the other, several
    /// times, and the tightest such reading counts.
    pub fn measure() -> Self {
        let readings = (0..SAMPLES).map(|_| {
            let before = now(ClockId::Monotonic);
            let wall = now(ClockId::Realtime);
            (before, wall, now(ClockId::Monotonic))
        });
        let (before, wall, after) = readings
            .min_by_key(|(before, _, after)| after - before)
            .unwrap_or_default();
        Self {
            offset_ns: i64::try_from(wall - i128::midpoint(before, after)).unwrap_or(0),
            uncertainty_ns: u64::try_from((after - before + 1) / 2).unwrap_or(0),
        }
    }

    /// Nanoseconds since 1970 (UTC) of a monotonic time.
    pub fn wall_ns(&self, monotonic_ns: u64) -> i128 {
        i128::from(monotonic_ns) + i128::from(self.offset_ns)
    }

    /// A monotonic time as RFC 3339 in UTC: `2026-11-23T00:18:38.123456789Z`.
    pub fn rfc3339(&self, monotonic_ns: u64) -> String {
        format_rfc3339(self.wall_ns(monotonic_ns))
    }
}

/// The monotonic clock now, as eBPF programs read it (`bpf_ktime_get_ns`).
pub fn monotonic_ns() -> u64 {
    u64::try_from(now(ClockId::Monotonic)).unwrap_or(0)
}

/// CPU time that all threads of this process have taken, ns.
pub fn process_cpu_ns() -> u64 {
    u64::try_from(now(ClockId::ProcessCPUTime)).unwrap_or(0)
}

fn now(clock: ClockId) -> i128 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    i128::from(tv_sec) * NS + i128::from(tv_nsec)
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
fn format_rfc3339(wall_ns: i128) -> String {
    let (seconds, ns) = (wall_ns.div_euclid(NS), wall_ns.rem_euclid(NS));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ns:09}Z")
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year; 400 years have 146,097 days.
fn civil_from_days(days: i128) -> (i128, i128, i128) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i128::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
        ] {
            assert_eq!(
                format_rfc3339(seconds * NS + 7),
                format!("{text}.000000007Z")
            );
        }
    }

    #[test]
    fn offset_is_added() {
        let clock = ClockOffset {
            offset_ns: 1_763_856_000_000_000_000,
            uncertainty_ns: 0,
        };
        assert_eq!(
            clock.rfc3339(1_500_000_000),
            "2025-11-23T00:00:01.500000000Z"
        );
        assert!(!clock.rfc3339(u64::MAX).is_empty());
    }

    #[test]
    fn measured_offset_agrees_with_the_system() {
        let clock = ClockOffset::measure();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as i128;
        let ours = clock.wall_ns(monotonic_ns());
        assert!((ours - wall).abs() < NS, "{ours} {wall}");
        assert!(clock.uncertainty_ns < 1_000_000);
    }
}
