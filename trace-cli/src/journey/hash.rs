//! A hash for kernel addresses: the standard one guards against keys chosen by an attacker, and costs more
//! than all else that is done to find a packet's journey. Addresses are chosen by the kernel's allocator.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by kernel address. Its order of iteration means nothing and is never used.
pub(super) type ByAddress<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// An address' hash.
pub(super) fn hash(address: u64) -> u64 {
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
