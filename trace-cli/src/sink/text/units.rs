//! Numbers as people read them: three significant digits and a unit.

use std::fmt::Write as _;

/// Each a thousand of the one before.
const TIMES: [&str; 3] = ["ns", "µs", "ms"];

/// A duration: `0 ns`, `999 ns`, `1.23 µs`, `12.3 ms`, `123 s`, `1234 s`.
pub fn duration(ns: u64) -> String {
    let mut scale: u64 = 1;
    for unit in TIMES {
        // Rounded up to a thousand, it is one of the next.
        if let Some(digits) = three_digits(ns, scale) {
            return format!("{digits} {unit}");
        }
        scale *= 1000;
    }
    let seconds = three_digits(ns, scale)
        .unwrap_or_else(|| (ns / scale + u64::from(ns % scale >= scale / 2)).to_string());
    format!("{seconds} s")
}

/// `value / scale` with three significant digits (fewer below the scale's own unit); `None` from a thousand on.
fn three_digits(value: u64, scale: u64) -> Option<String> {
    if scale == 1 {
        return (value < 1000).then(|| value.to_string());
    }
    let (value, scale) = (u128::from(value), u128::from(scale));
    for decimals in [2_u32, 1, 0] {
        let factor = 10_u128.pow(decimals);
        let rounded = (value * factor + scale / 2) / scale;
        if rounded < 1000 {
            let (whole, fraction) = (rounded / factor, rounded % factor);
            let mut text = whole.to_string();
            if decimals > 0 {
                let width = usize::try_from(decimals).unwrap_or(0);
                write!(text, ".{fraction:0width$}").expect("a string takes everything");
            }
            return Some(text);
        }
    }
    None
}

/// A number of bytes: `0 B`, `999 B`, `1.23 kB`, `12.3 MB`.
pub fn bytes(bytes: u64) -> String {
    let mut scale: u64 = 1;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if let Some(digits) = three_digits(bytes, scale) {
            return format!("{digits} {unit}");
        }
        scale *= 1000;
    }
    format!("{} PB", bytes / scale)
}

/// A part of a whole: `12.3 %`; what is there but would round to nothing is `<0.1 %`.
pub fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.0005 {
        return "<0.1 %".to_owned();
    }
    format!("{:.1} %", share * 100.0)
}

/// `1 packet`, `2 packets`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (1, "1 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (1_234, "1.23 µs"),
            (1_235, "1.24 µs"),
            (9_994, "9.99 µs"),
            (9_995, "10.0 µs"),
            (99_950, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (20_411_100, "20.4 ms"),
            (999_999_999, "1.00 s"),
            (65_000_000_000, "65.0 s"),
            (1_234_500_000_000, "1235 s"),
            (u64::MAX, "18446744074 s"),
        ] {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn percentages_never_hide_something() {
        assert_eq!(percent(0.0), "0.0 %");
        assert_eq!(percent(0.0001), "<0.1 %");
        assert_eq!(percent(0.1234), "12.3 %");
        assert_eq!(percent(1.0), "100.0 %");
    }

    #[test]
    fn bytes_are_counted_in_thousands() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (999_999, "1.00 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(bytes(value), text);
        }
    }
}
