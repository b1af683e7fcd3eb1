//! Offloads (`ethtool -k`): what the device, or the stack in its place, does for many packets at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::bits;
use crate::kernel::netlink::attributes;

/// `ETHTOOL_A_FEATURES_*`.
const HARDWARE: u16 = 2;
const WANTED: u16 = 3;
const ACTIVE: u16 = 4;
const UNCHANGEABLE: u16 = 5;

/// One feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Feature {
    /// It is on.
    pub on: bool,
    /// `ethtool -K` can change it.
    pub changeable: bool,
    /// It was asked for; on it may be all the same, or not, as others need it.
    pub wanted: bool,
}

/// Features by the kernel's names (`net/ethtool/common.c`); those that are off and cannot be changed are left out.
pub(super) fn parse(answer: &[u8]) -> BTreeMap<String, Feature> {
    let mut sets: BTreeMap<u16, BTreeSet<String>> = attributes(answer)
        .map(|(number, value)| (number, bits::set(value).into_iter().collect()))
        .collect();
    let mut take = |number| sets.remove(&number).unwrap_or_default();
    let (hardware, wanted) = (take(HARDWARE), take(WANTED));
    let (active, unchangeable) = (take(ACTIVE), take(UNCHANGEABLE));
    hardware
        .union(&active)
        .map(|name| {
            let feature = Feature {
                on: active.contains(name),
                changeable: hardware.contains(name) && !unchangeable.contains(name),
                wanted: wanted.contains(name),
            };
            (name.clone(), feature)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::{push, push_nested};

    #[test]
    fn four_sets_make_one_list() {
        let set = |number, names: &[&str]| {
            let mut bits = Vec::new();
            for name in names {
                let mut bit = Vec::new();
                push(&mut bit, 2, &[name.as_bytes(), b"\0"].concat());
                push_nested(&mut bits, 1, &bit);
            }
            let (mut inner, mut set) = (Vec::new(), Vec::new());
            push(&mut inner, 1, &[]);
            push_nested(&mut inner, 3, &bits);
            push_nested(&mut set, number, &inner);
            set
        };
        let answer = [
            set(HARDWARE, &["a", "b", "c"]),
            set(WANTED, &["a"]),
            set(ACTIVE, &["a", "d"]),
            set(UNCHANGEABLE, &["c", "d", "e"]),
        ]
        .concat();
        let read: Vec<_> = parse(&answer)
            .into_iter()
            .map(|(name, feature)| (name, feature.on, feature.changeable, feature.wanted))
            .collect();
        let expected = [
            ("a", true, true, true),
            ("b", false, true, false),
            ("c", false, false, false),
            ("d", true, false, false),
        ];
        assert_eq!(
            read,
            expected.map(|(name, on, can, want)| (name.to_owned(), on, can, want))
        );
    }
}
