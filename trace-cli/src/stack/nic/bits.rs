//! Sets of named bits (`ETHTOOL_A_BITSET_*`), in their long form, which has the names in it.

use crate::kernel::netlink::{self, attributes};

const NO_MASK: u16 = 1;
const BITS: u16 = 3;
const BIT: u16 = 1;
const NAME: u16 = 2;
const VALUE: u16 = 3;

/// One bit that the set speaks of.
pub(super) struct Bit {
    pub(super) name: String,
    /// It is on. A set without a mask lists only those that are, and none of them says so.
    pub(super) set: bool,
}

/// All bits that the set speaks of, in the kernel's order; unnamed ones are left out.
pub(super) fn parse(set: &[u8]) -> Vec<Bit> {
    let all_on = attributes(set).any(|(number, _)| number == NO_MASK);
    attributes(set)
        .filter(|(number, _)| *number == BITS)
        .flat_map(|(_, bits)| attributes(bits))
        .filter(|(number, _)| *number == BIT)
        .filter_map(|(_, bit)| {
            let name = attributes(bit).find(|(number, _)| *number == NAME)?.1;
            Some(Bit {
                name: Some(netlink::text(name)).filter(|name| !name.is_empty())?,
                set: all_on || attributes(bit).any(|(number, _)| number == VALUE),
            })
        })
        .collect()
}

/// Names of the bits that are on.
pub(super) fn set(set: &[u8]) -> Vec<String> {
    parse(set)
        .into_iter()
        .filter_map(|bit| bit.set.then_some(bit.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::netlink::{push, push_nested};

    #[test]
    fn names_and_whether_they_are_on() {
        let mut bits = Vec::new();
        for (name, on) in [(&b"tx-udp\0"[..], true), (b"rx-all\0", false)] {
            let mut bit = Vec::new();
            push(&mut bit, 1, &7_u32.to_ne_bytes());
            push(&mut bit, NAME, name);
            if on {
                push(&mut bit, VALUE, &[]);
            }
            push_nested(&mut bits, BIT, &bit);
        }
        let mut whole = Vec::new();
        push(&mut whole, 2, &64_u32.to_ne_bytes());
        push_nested(&mut whole, BITS, &bits);
        assert_eq!(set(&whole), ["tx-udp"]);
        let read: Vec<_> = parse(&whole)
            .into_iter()
            .map(|bit| (bit.name, bit.set))
            .collect();
        assert_eq!(
            read,
            [("tx-udp".to_owned(), true), ("rx-all".to_owned(), false)]
        );
    }

    #[test]
    fn without_a_mask_all_that_is_listed_is_on() {
        let (mut bit, mut bits, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        push(&mut bit, NAME, b"a\0");
        push_nested(&mut bits, BIT, &bit);
        push_nested(&mut whole, BITS, &bits);
        assert_eq!(set(&whole).len(), 0);
        push(&mut whole, NO_MASK, &[]);
        assert_eq!(set(&whole), ["a"]);
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
