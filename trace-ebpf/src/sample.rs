//! Which flows `--sample` follows. Asked by the kernel side at a segment's first stamp, and by tests of what they sent: one
//! body for both.
//!
//! The choice is a hash of what stays the same along a flow's whole way, in both directions: the protocol, and address and
//! port of both ends in any order. So a flow is in or out as a whole, on every CPU and in every namespace. Where NAT or a
//! tunnel gives it other addresses it is another flow.

use core::num::NonZeroU32;

/// Of one end of a flow: its address in 32-bit words as they lie in the packet, one for IPv4, four for IPv6; its port in host
/// byte order.
#[inline(always)]
pub const fn end(address: [u32; 4], words: usize, port: u16) -> u32 {
    let mut hash = port as u32;
    let mut at = 0;
    while at < words && at < 4 {
        hash = (hash ^ address[at]).wrapping_mul(0x9e37_79b1);
        hash ^= hash >> 15;
        at += 1;
    }
    hash
}

/// Of a flow, from its protocol's number and the hashes of its two [`end`]s.
#[inline(always)]
pub const fn flow(protocol: u8, one: u32, other: u32) -> u32 {
    let mut hash = one.wrapping_add(other) ^ (protocol as u32) << 24;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// A flow is followed if its hash is not above this: of `one_in` flows one is, and those of a larger `one_in` are among them.
pub const fn limit(one_in: NonZeroU32) -> u32 {
    ((1_u64 << 32) / one_in.get() as u64 - 1) as u32
}
