//! A hash for kernel addresses: the standard one guards against keys chosen by an attacker, and costs more
//! than all else that is done to find a packet's journey. Addresses are chosen by the kernel's allocator.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A map by kernel address. Its order of iteration means nothing and is never used.
pub(super) type ByAddress<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// Slots by an address that is in them, so that none is kept twice: `of` says it of a slot.
#[derive(Default, Debug)]
pub(super) struct SlotsByAddress(HashTable<u32>);

impl SlotsByAddress {
    pub(super) fn find(&self, address: u64, of: impl Fn(u32) -> u64) -> Option<u32> {
        let is = |&slot: &u32| of(slot) == address;
        self.0.find(hash(address), is).copied()
    }

    /// Makes `slot` the one that has its address, in place of another one.
    pub(super) fn put(&mut self, slot: u32, address: u64, of: impl Fn(u32) -> u64) {
        match self.entry(address, of) {
            Entry::Occupied(mut before) => *before.get_mut() = slot,
            Entry::Vacant(free) => {
                free.insert(slot);
            }
        }
    }

    /// Removes an address, if `slot` has it.
    pub(super) fn remove(&mut self, slot: u32, address: u64, of: impl Fn(u32) -> u64) {
        if let Entry::Occupied(known) = self.entry(address, of)
            && *known.get() == slot
        {
            known.remove();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn entry(&mut self, address: u64, of: impl Fn(u32) -> u64) -> Entry<'_, u32> {
        let is = |&slot: &u32| of(slot) == address;
        self.0.entry(hash(address), is, |&slot| hash(of(slot)))
    }
}

fn hash(address: u64) -> u64 {
    let mut hasher = AddressHasher::default();
    hasher.write_u64(address);
    hasher.finish()
}

/// Multiplication by the golden ratio; the high bits, where it mixes best, are folded down.
#[derive(Default, Debug)]
pub(super) struct AddressHasher(u64);

impl AddressHasher {
    const fn mix(&mut self, value: u64) {
        let product = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.mix(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }
}
