//! The bytes of one BTF blob: header, types, strings. Everything that could be out of bounds is settled here.
//!
//! Layout: `include/uapi/linux/btf.h` and <https://docs.kernel.org/bpf/btf.html>. A blob is a header, a run of types of
//! varying length (numbered from 1 in the order they lie), and a table of NUL-terminated strings. The blob of a module is
//! *split*: its ids and string offsets go on where those of vmlinux end. Kernels of 2026 add a layout section that tells
//! the sizes of kinds, so that readers can step over kinds that they do not know; we use it for just that.

use std::ops::Range;

use super::BtfError;

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_header` without and with the layout section.
const HEADER: usize = 24;
const HEADER_WITH_LAYOUT: usize = 32;
/// Bytes of `struct btf_type`, which opens each type.
const TYPE: usize = 12;

/// `BTF_KIND_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
    /// Newer than this reader; stepped over by means of the layout section.
    Newer,
}

impl Kind {
    fn from_info(info: u32) -> Option<Self> {
        Some(match (info >> 24) & 0x7f {
            0 => return None,
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 => Self::Volatile,
            10 => Self::Const,
            11 => Self::Restrict,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::Datasec,
            16 => Self::Float,
            17 => Self::DeclTag,
            18 => Self::TypeTag,
            19 => Self::Enum64,
            _ => Self::Newer,
        })
    }

    /// Bytes that follow `struct btf_type`: fixed ones, and for each of `vlen` elements.
    fn extra(self) -> Option<(usize, usize)> {
        Some(match self {
            Self::Int | Self::Var | Self::DeclTag => (4, 0),
            Self::Array => (12, 0),
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => (0, 12),
            Self::Enum | Self::FuncProto => (0, 8),
            Self::Newer => return None,
            _ => (0, 0),
        })
    }

    /// Kinds that are looked up by name.
    fn is_indexed(self) -> bool {
        matches!(
            self,
            Self::Struct | Self::Union | Self::Enum | Self::Enum64 | Self::Typedef | Self::Func
        )
    }
}

/// One type, with the bytes that belong to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type<'a> {
    pub kind: Kind,
    /// The kind flag: bitfields in a struct, signed values in an enum.
    pub flag: bool,
    pub name: u32,
    /// `size` or `type`, by kind.
    pub size_or_type: u32,
    rest: &'a [u8],
}

impl<'a> Type<'a> {
    /// The words of the i-th element of `N` words (members, parameters, values).
    pub fn elements<const N: usize>(&self) -> impl Iterator<Item = [u32; N]> + use<'a, N> {
        self.rest.chunks_exact(4 * N).map(|chunk| {
            let mut words = [0; N];
            for (word, bytes) in words.iter_mut().zip(chunk.chunks_exact(4)) {
                *word = read_u32(bytes, 0).unwrap_or(0);
            }
            words
        })
    }
}

/// A parsed blob: its bytes, where each type lies, and an index of names.
pub(super) struct Section {
    data: Vec<u8>,
    strings: Range<usize>,
    /// First id and first string offset of this blob; 1 and 0 unless split.
    first_id: u32,
    first_string: u32,
    /// Where each type begins in `data`, by id − `first_id`.
    offsets: Vec<u32>,
    /// Hash of the name in the upper half, id in the lower, sorted: three times smaller than a map of strings and
    /// made in a few milliseconds.
    index: Vec<u64>,
    layout: Range<usize>,
}

impl Section {
    pub fn parse(data: Vec<u8>, base: Option<&Self>) -> Result<Self, BtfError> {
        match data.first_chunk().map(|magic| u16::from_le_bytes(*magic)) {
            Some(MAGIC) => {}
            Some(other) if other == MAGIC.swap_bytes() => return Err(BtfError::ByteOrder),
            _ => return Err(BtfError::NotBtf),
        }
        let word = |at| read_u32(&data, at).ok_or(damaged("header", at));
        let header = word(4)? as usize;
        if header < HEADER || u32::try_from(data.len()).is_err() {
            return Err(damaged("header", 4));
        }
        let range = |at: usize, what| -> Result<Range<usize>, BtfError> {
            let (offset, len) = (word(at)? as usize, word(at + 4)? as usize);
            let start = header.checked_add(offset).ok_or(damaged(what, at))?;
            let end = start.checked_add(len).filter(|end| *end <= data.len());
            Ok(start..end.ok_or(damaged(what, at))?)
        };
        let types = range(8, "type section")?;
        let strings = range(16, "string section")?;
        let layout = if header >= HEADER_WITH_LAYOUT {
            range(24, "layout section")?
        } else {
            0..0
        };
        let (first_id, first_string) =
            base.map_or((1, 0), |base| (base.end_id(), base.end_string()));
        let mut section = Self {
            data,
            strings,
            first_id,
            first_string,
            // A type takes 24 bytes on average; vmlinux has 120,000 and more.
            offsets: Vec::with_capacity(types.len() / 24),
            index: Vec::with_capacity(types.len() / 40),
            layout,
        };
        section.index_types(types, base)?;
        Ok(section)
    }

    fn index_types(&mut self, types: Range<usize>, base: Option<&Self>) -> Result<(), BtfError> {
        let mut at = types.start;
        while at < types.end {
            let id = self.end_id();
            let (kind, len) = self.measure(at, id)?;
            if len > types.end - at {
                return Err(damaged("type", at));
            }
            if kind.is_indexed() {
                let name = read_u32(&self.data, at).unwrap_or(0);
                let bytes = if name < self.first_string {
                    base.and_then(|base| base.string(name))
                } else {
                    self.string(name)
                };
                if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    self.index
                        .push(u64::from(hash(bytes)) << 32 | u64::from(id));
                }
            }
            self.offsets.push(at as u32);
            at += len;
        }
        self.index.sort_unstable();
        Ok(())
    }

    /// Kind and length in bytes of the type at `at`.
    fn measure(&self, at: usize, id: u32) -> Result<(Kind, usize), BtfError> {
        let info = read_u32(&self.data, at + 4).ok_or(damaged("type", at))?;
        let kind = Kind::from_info(info).ok_or(damaged("type", at))?;
        let (fixed, each) = kind
            .extra()
            .or_else(|| self.layout_of(info >> 24 & 0x7f))
            .ok_or(BtfError::UnknownKind {
                id,
                kind: info >> 24 & 0x7f,
            })?;
        // At most 12 + 255 + 255 · 2^24, which is less than 2^32.
        Ok((kind, TYPE + fixed + each * (info & 0xff_ffff) as usize))
    }

    /// `struct btf_layout { u8 info_sz; u8 elem_sz; u16 flags; }`, one for each kind from 0.
    fn layout_of(&self, kind: u32) -> Option<(usize, usize)> {
        let entry = self.data[self.layout.clone()]
            .chunks_exact(4)
            .nth(kind as usize)?;
        Some((usize::from(entry[0]), usize::from(entry[1])))
    }

    /// The id after the last one.
    pub fn end_id(&self) -> u32 {
        self.first_id.saturating_add(self.offsets.len() as u32)
    }

    fn end_string(&self) -> u32 {
        self.first_string.saturating_add(self.strings.len() as u32)
    }

    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    pub fn first_string(&self) -> u32 {
        self.first_string
    }

    /// The type with this id, which must be one of this blob's own.
    pub fn get(&self, id: u32) -> Option<Type<'_>> {
        let at = *self.offsets.get(id.checked_sub(self.first_id)? as usize)? as usize;
        let (kind, len) = self.measure(at, id).ok()?;
        let bytes = self.data.get(at..at + len)?;
        Some(Type {
            kind,
            flag: read_u32(bytes, 4)? >> 31 != 0,
            name: read_u32(bytes, 0)?,
            size_or_type: read_u32(bytes, 8)?,
            rest: &bytes[TYPE..],
        })
    }

    /// The string at this offset, which must be one of this blob's own.
    pub fn string(&self, offset: u32) -> Option<&[u8]> {
        let start = offset.checked_sub(self.first_string)? as usize;
        let bytes = self.data[self.strings.clone()].get(start..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(&bytes[..end])
    }

    /// Ids whose name has the same hash as `name`, in ascending order; the caller compares the names.
    pub fn candidates(&self, name: &str) -> impl Iterator<Item = u32> + use<'_> {
        let hash = hash(name.as_bytes());
        let start = self
            .index
            .partition_point(|entry| ((entry >> 32) as u32) < hash);
        self.index[start..]
            .iter()
            .take_while(move |entry| (**entry >> 32) as u32 == hash)
            .map(|entry| *entry as u32)
    }
}

fn damaged(what: &'static str, at: usize) -> BtfError {
    BtfError::Damaged { what, at }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// FNV-1a: short, and good enough where the names are compared afterwards.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
