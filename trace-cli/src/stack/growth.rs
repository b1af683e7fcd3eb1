//! What became of counters between two readings.

use std::collections::BTreeMap;

/// A value of which two readings can be compared: counters turn into their growth, all else stays as it is now.
pub trait Growth: Sized {
    /// What changed since `earlier`.
    #[must_use]
    fn since(&self, earlier: &Self) -> Self;
}

/// A part that was not there earlier has no growth that could be known: it is left out.
impl<T: Growth> Growth for Option<T> {
    fn since(&self, earlier: &Self) -> Self {
        Some(self.as_ref()?.since(earlier.as_ref()?))
    }
}

/// Counters by name; those that appeared since are left out.
impl Growth for BTreeMap<String, u64> {
    fn since(&self, earlier: &Self) -> Self {
        self.iter()
            .filter_map(|(name, now)| Some((name.clone(), counter(*now, *earlier.get(name)?))))
            .collect()
    }
}

/// Growth of a 64-bit counter. One that is smaller than before was set back to zero in between (a device made anew): it has
/// grown by what it is now.
pub const fn counter(now: u64, before: u64) -> u64 {
    match now.checked_sub(before) {
        Some(growth) => growth,
        None => now,
    }
}

/// Growth of a counter that the kernel keeps in 32 bits, and that begins again from zero when they are full.
pub const fn counter32(now: u64, before: u64) -> u64 {
    (now as u32).wrapping_sub(before as u32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_wrap_and_begin_anew() {
        assert_eq!(counter(7, 5), 2);
        assert_eq!(counter(3, 5), 3);
        assert_eq!(counter32(3, u64::from(u32::MAX)), 4);
        let map = |pairs: &[(&str, u64)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect::<BTreeMap<_, _>>()
        };
        let now = map(&[("a", 7), ("new", 9)]);
        assert_eq!(now.since(&map(&[("a", 5), ("gone", 1)])), map(&[("a", 2)]));
    }
}
