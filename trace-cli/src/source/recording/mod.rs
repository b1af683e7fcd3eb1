//! Recordings: the stream of [`Item`](super::item::Item)s in a file, to be replayed later or elsewhere.
//!
//! docs/recording.md has the format byte by byte. In short: a header that never changes its layout, then blocks. Each
//! block stands for itself (compressed, numbered, checksummed), so a file that breaks off is good up to its last whole
//! block. Blocks carry *entries*: a tag, a length and a body. An item that does not fit into the rest of a block goes on
//! in the next one, so there is no other limit to its length than [`MAX_ITEM`].
//!
//! The reader trusts nothing: lengths are checked before they are used, and memory grows only with what was really read.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{ReadError, Reader};
pub use write::{WriteError, Writer};

/// Changes whenever the layout around the wire records does; `trace_ebpf::WIRE_VERSION` is theirs.
pub const FORMAT_VERSION: u32 = 1;
/// Longest item or session in a recording, bytes.
pub const MAX_ITEM: usize = 16 << 20;

/// Opens the file. Like PNG's: no text file begins so, and a transfer that converts line ends breaks it.
const MAGIC: [u8; 8] = *b"\x89PJR\r\n\x1a\n";
/// [`MAGIC`], format version, wire version, counters in a tick, CRC32 of the bytes before.
const HEADER: usize = 24;
/// Opens each block.
const BLOCK_MAGIC: [u8; 4] = *b"PJBL";
/// [`BLOCK_MAGIC`], number, raw length, packed length, CRC32 of these three and of the packed bytes.
const BLOCK_HEAD: usize = 20;
/// Most bytes in a block before compression.
const MAX_RAW: usize = 64 << 10;
/// … and after it: LZ4 makes what it cannot compress slightly longer.
const MAX_PACKED: usize = lz4_flex::block::get_maximum_output_size(MAX_RAW);
/// Tag and length (16 bits) before an entry's body.
const ENTRY_HEAD: usize = 3;

/// An entry's first byte: which item its body is of.
mod tag {
    pub const SESSION: u8 = 1;
    pub const RECORD: u8 = 2;
    pub const TICK: u8 = 3;
    pub const NAMES: u8 = 4;
    pub const END: u8 = 5;
    pub const MOMENT: u8 = 6;
    /// Added to the others: the item goes on in the next entry.
    pub const MORE: u8 = 0x80;
}

fn block_crc(head: &[u8], packed: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[BLOCK_MAGIC.len()..BLOCK_HEAD - size_of::<u32>()]);
    crc.update(packed);
    crc.finalize()
}
