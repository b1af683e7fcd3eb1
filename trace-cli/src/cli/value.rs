//! Single values on the command line: each says what is wrong with it, and what would be right.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::{budget::Share, probe::Kinds};

/// The kernel's IFNAMSIZ, without the final zero.
const LONGEST_INTERFACE: usize = 15;
/// A ring is mapped by pages.
const SMALLEST_BUFFER: u64 = 4096;
const LARGEST_BUFFER: u64 = 1 << 30;
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Numbers with units, one after the other: `10s`, `1.5ms`, `1h30m`. Longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err("a time is missing, as in 10s".to_owned());
    }
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if number.is_empty() {
            return Err(format!("a number is missing before `{rest}`, as in 10s"));
        }
        if unit.is_empty() {
            return Err(format!(
                "a unit is missing after {number}: {number}ms, {number}s or {number}m?"
            ));
        }
        let Some((_, ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("unknown unit `{unit}`: ns, us, ms, s, m, h or d"));
        };
        total = part(number, *ns)
            .ok_or_else(|| format!("`{number}` is no number that fits"))
            .and_then(|part| total.checked_add(part).ok_or_else(|| "too long".to_owned()))?;
        rest = after.trim_start();
    }
    if total == 0 {
        return Err("must be longer than nothing".to_owned());
    }
    Ok(Duration::from_nanos(total))
}

/// A decimal number of units, in whole nanoseconds.
fn part(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u64>().ok()
        }
    };
    let below = u128::from(digits(fraction)?) * u128::from(unit)
        / 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    digits(whole)?
        .checked_mul(unit)?
        .checked_add(u64::try_from(below).ok()?)
}

/// One in so many: `1/100`.
pub(super) fn sample(text: &str) -> Result<NonZeroU32, String> {
    const MOST: u32 = 1_000_000;
    text.trim()
        .strip_prefix("1/")
        .and_then(|number| number.parse::<NonZeroU32>().ok())
        .filter(|number| number.get() <= MOST)
        .ok_or_else(|| format!("must be one in so many, from 1/1 to 1/{MOST}, as in 1/100"))
}

/// A part of all CPU time: `2%`, `0.5%`.
pub(super) fn share(text: &str) -> Result<Share, String> {
    const WHOLE: u64 = 1_000_000;
    text.trim()
        .strip_suffix('%')
        .and_then(|number| part(number.trim_end(), WHOLE / 100))
        .filter(|millionths| (1..=WHOLE).contains(millionths))
        .map(|millionths| Share::of(millionths, WHOLE))
        .ok_or_else(|| "must be a part of all CPU time, from 0.0001% to 100%, as in 2%".to_owned())
}

/// Bytes, with K, M or G for powers of 1024.
pub(super) fn buffer_size(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_alphabetic());
    let factor: u64 = match text.get(number.len()..).unwrap_or("") {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit `{unit}`: K, M or G")),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("`{number}` is no whole number that fits"))?;
    if !(SMALLEST_BUFFER..=LARGEST_BUFFER).contains(&bytes) {
        return Err("must lie between 4K and 1G".to_owned());
    }
    if !bytes.is_power_of_two() {
        let near = bytes.next_power_of_two();
        return Err(format!(
            "must be a power of two: {} or {near} bytes?",
            near / 2
        ));
    }
    u32::try_from(bytes).map_err(|_| "must lie between 4K and 1G".to_owned())
}

/// A name that an interface can have.
pub(super) fn interface(text: &str) -> Result<String, String> {
    if text.is_empty()
        || text.len() > LONGEST_INTERFACE
        || text.contains(|c: char| c == '/' || c.is_whitespace())
    {
        return Err(format!(
            "an interface name has 1 to {LONGEST_INTERFACE} bytes, without `/` and spaces"
        ));
    }
    Ok(text.to_owned())
}

/// Probe kinds.
pub(super) fn kinds(text: &str) -> Result<Kinds, String> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> Result<u128, String> {
        duration(text).map(|d| d.as_nanos())
    }

    #[test]
    fn durations() {
        assert_eq!(ns("10s"), Ok(10_000_000_000));
        assert_eq!(ns("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(ns("1.5ms"), Ok(1_500_000));
        assert_eq!(ns("250us"), Ok(250_000));
        assert_eq!(ns(".5s"), Ok(500_000_000));
        assert_eq!(ns("1m 5s"), Ok(65_000_000_000));
    }

    #[test]
    fn wrong_durations_say_why() {
        for (text, part) in [
            ("10", "a unit is missing after 10: 10ms, 10s or 10m?"),
            ("", "a time is missing"),
            ("0s", "longer than nothing"),
            ("0.4ns", "longer than nothing"),
            ("s", "a number is missing"),
            ("5parsecs", "unknown unit `parsecs`"),
            ("-5s", "a number is missing"),
            ("1..5s", "is no number"),
            (".s", "is no number"),
            ("99999999999999999999s", "is no number that fits"),
            ("60000d 200000d", "too long"),
            (
                "1.99999999999999999999999999999999999999999s",
                "is no number",
            ),
        ] {
            let error = duration(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn buffer_sizes() {
        assert_eq!(buffer_size("4096"), Ok(4096));
        assert_eq!(buffer_size("512K"), Ok(512 << 10));
        assert_eq!(buffer_size("1G"), Ok(1 << 30));
        assert_eq!(
            buffer_size("3M").expect_err("no power of two"),
            "must be a power of two: 2097152 or 4194304 bytes?"
        );
        assert!(buffer_size("1").is_err());
        assert!(buffer_size("2G").is_err());
        assert!(buffer_size("4X").is_err());
        assert!(buffer_size("99999999999999999999G").is_err());
    }

    #[test]
    fn interface_names() {
        assert_eq!(interface("eth0"), Ok("eth0".to_owned()));
        for wrong in ["", "sixteen-bytes-00", "a/b", "a b"] {
            assert!(interface(wrong).is_err(), "{wrong}");
        }
    }
}
