//! The kernel's own description of its types (BTF): where a member lies in a struct, what an enum's values are called,
//! what a function or tracepoint is given.
//!
//! Why a reader of our own: btf-rs is under the LGPL, which does not suit a statically linked tool under MIT/Apache, and
//! takes 0.2 s to read vmlinux; aya-obj has the types but keeps them private. All we need is look-up by name, and that
//! can be had in a few milliseconds: one pass notes where each type begins and files named ones under a hash, nothing is
//! decoded until it is asked for.
//!
//! Every function here answers `None` for what a blob does not hold, and no blob, however damaged, makes one panic or
//! run for long: all reads are checked, chains of types are followed a bounded number of steps.

mod raw;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{fs, io, path::Path, path::PathBuf, sync::Arc};

use raw::{Kind, Section, Type};

/// Where the kernel shows its BTF (`CONFIG_DEBUG_INFO_BTF`), and below the same folder that of each module.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// How many typedefs, qualifiers or array dimensions in a row we follow.
const MAX_CHAIN: usize = 32;
/// How many members one look-up may visit; `struct sk_buff` and all it nests have about 150.
const MAX_VISITS: u32 = 20_000;
/// The supported architectures have 64-bit pointers.
const POINTER_SIZE: u32 = 8;

/// Why there is no BTF to look things up in.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file is missing or cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bytes do not begin as BTF does.
    #[error("this is not BTF")]
    NotBtf,
    /// BTF of a machine with the other byte order.
    #[error("this BTF is big endian; only little endian machines are supported")]
    ByteOrder,
    /// Something points outside of the blob.
    #[error("damaged BTF: bad {what} at byte {at}")]
    Damaged {
        /// What was being read.
        what: &'static str,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// A kind of type that is newer than this reader, in a blob that does not tell its size.
    #[error("BTF type {id} is of kind {kind}, which this version does not know")]
    UnknownKind {
        /// Number of the type.
        id: u32,
        /// `BTF_KIND_*`.
        kind: u32,
    },
}

/// Where a member lies in its struct.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Bytes from the start of the outermost struct. For a bitfield: of the smallest aligned word that holds it.
    pub byte_offset: u32,
    /// Bits from `byte_offset` up; 0 unless a bitfield. To read one: load `size` bytes, shift right, mask.
    pub bit_offset: u32,
    /// How many bits, for a bitfield.
    pub bitfield_width: Option<u32>,
    /// Bytes to load.
    pub size: u32,
}

/// A parameter of a kernel function or tracepoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// Its name; empty where BTF has none.
    pub name: String,
    /// The struct or union it points to, when it is a pointer to one with a name.
    pub pointee: Option<String>,
    /// The enum it is, for instance `skb_drop_reason`.
    pub enumeration: Option<String>,
}

/// The types of a kernel, or of one module together with the kernel's.
#[derive(Clone)]
pub struct Btf {
    own: Arc<Section>,
    base: Option<Arc<Section>>,
}

impl Btf {
    /// The running kernel's.
    pub fn from_kernel() -> Result<Self, BtfError> {
        Self::from_file(Path::new(VMLINUX))
    }

    /// Reads a raw (not ELF) BTF file, such as a copy of [`VMLINUX`].
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        Self::parse(read(path)?)
    }

    /// Takes a raw BTF blob.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        Ok(Self {
            own: Arc::new(Section::parse(data, None)?),
            base: None,
        })
    }

    /// The BTF of a loaded module, whose types build on those of vmlinux (`self`).
    pub fn module(&self, name: &str) -> Result<Self, BtfError> {
        let path = Path::new(VMLINUX).with_file_name(name);
        self.parse_module(read(&path)?)
    }

    /// Takes the split BTF blob of a module that builds on `self`.
    pub fn parse_module(&self, data: Vec<u8>) -> Result<Self, BtfError> {
        let base = Arc::clone(self.base.as_ref().unwrap_or(&self.own));
        Ok(Self {
            own: Arc::new(Section::parse(data, Some(&base))?),
            base: Some(base),
        })
    }

    /// Finds a member of a struct, union, or typedef of one: `member("sk_buff", "dev")`.
    ///
    /// The path may go down into nested structs and arrays (`tuplehash[1].tuple.src`); unnamed structs and unions on
    /// the way are searched and not written. It never follows a pointer.
    pub fn member(&self, strukt: &str, path: &str) -> Option<Member> {
        let mut visits = MAX_VISITS;
        self.named(strukt, &[Kind::Struct, Kind::Union, Kind::Typedef])
            .find_map(|ty| self.member_of(ty, path, &mut visits))
    }

    /// Many look-ups of [`member`](Self::member) in one call.
    pub fn members(&self, wanted: &[(&str, &str)]) -> Vec<Option<Member>> {
        wanted
            .iter()
            .map(|(strukt, path)| self.member(strukt, path))
            .collect()
    }

    /// Bytes that a struct or union takes.
    pub fn size_of(&self, strukt: &str) -> Option<u32> {
        self.named(strukt, &[Kind::Struct, Kind::Union])
            .map(|ty| ty.size_or_type)
            .next()
    }

    /// Names and values of an enum, in the order of its declaration.
    pub fn enum_values(&self, name: &str) -> Option<Vec<(String, i64)>> {
        let ty = self.named(name, &[Kind::Enum, Kind::Enum64]).next()?;
        let text = |offset| self.text(offset).unwrap_or_default().to_owned();
        Some(match ty.kind {
            Kind::Enum if ty.flag => ty
                .elements()
                .map(|[name, value]| (text(name), i64::from(value.cast_signed())))
                .collect(),
            Kind::Enum => ty
                .elements()
                .map(|[name, value]| (text(name), i64::from(value)))
                .collect(),
            _ => ty
                .elements()
                .map(|[name, low, high]| {
                    (
                        text(name),
                        (u64::from(high) << 32 | u64::from(low)).cast_signed(),
                    )
                })
                .collect(),
        })
    }

    /// Names of all enums for which `wanted` says yes.
    pub fn enum_names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        (self.own.first_id()..self.own.end_id())
            .filter_map(|id| self.own.get(id))
            .filter(|ty| matches!(ty.kind, Kind::Enum | Kind::Enum64))
            .filter_map(|ty| self.text(ty.name))
            .filter(|name| !name.is_empty() && wanted(name))
            .map(str::to_owned)
            .collect()
    }

    /// Whether there is a function of this name (which says that it was not inlined away, not that it can be probed).
    pub fn has_func(&self, name: &str) -> bool {
        self.named(name, &[Kind::Func]).next().is_some()
    }

    /// What a kernel function is given.
    pub fn func_params(&self, name: &str) -> Option<Vec<Param>> {
        let func = self.named(name, &[Kind::Func]).next()?;
        self.params_of(func.size_or_type)
    }

    /// Whether the kernel has this tracepoint, and BTF for it (so that it can be attached as `tp_btf`).
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoint_proto(name).is_some()
    }

    /// What a tracepoint gives to its probes, without the `void *__data` that opens each such call in the kernel.
    ///
    /// The prototype comes from `typedef void (*btf_trace_NAME)(…)`, which knows no names; these come, where the kernel
    /// has it, from the function that calls the probes (`__traceiter_NAME`, 5.10 and newer).
    pub fn tracepoint_params(&self, name: &str) -> Option<Vec<Param>> {
        let mut params = self.params_of(self.tracepoint_proto(name)?)?;
        if params.iter().all(|param| param.name.is_empty())
            && let Some(named) = self.func_params(&format!("__traceiter_{name}"))
            && named.len() == params.len()
        {
            for (param, named) in params.iter_mut().zip(named) {
                param.name = named.name;
            }
        }
        (!params.is_empty()).then(|| params.split_off(1))
    }

    fn tracepoint_proto(&self, name: &str) -> Option<u32> {
        let name = format!("btf_trace_{name}");
        let typedef = self.named(&name, &[Kind::Typedef]).next()?.size_or_type;
        let (_, pointer) = self.strip(typedef)?;
        (pointer.kind == Kind::Ptr).then_some(pointer.size_or_type)
    }

    fn params_of(&self, proto: u32) -> Option<Vec<Param>> {
        let (_, proto) = self.strip(proto)?;
        if proto.kind != Kind::FuncProto {
            return None;
        }
        let name_of = |ty: Type<'_>, kinds: &[Kind]| {
            kinds
                .contains(&ty.kind)
                .then(|| self.text(ty.name))
                .flatten()
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
        };
        let param = |[name, id]: [u32; 2]| {
            let ty = self.strip(id).map(|(_, ty)| ty);
            let pointee = ty
                .filter(|ty| ty.kind == Kind::Ptr)
                .and_then(|ty| self.strip(ty.size_or_type));
            Param {
                name: self.text(name).unwrap_or_default().to_owned(),
                pointee: pointee
                    .and_then(|(_, ty)| name_of(ty, &[Kind::Struct, Kind::Union, Kind::Fwd])),
                enumeration: ty.and_then(|ty| name_of(ty, &[Kind::Enum, Kind::Enum64])),
            }
        };
        Some(proto.elements().map(param).collect())
    }

    /// Types of this name and of one of these kinds; a module's own before the kernel's.
    fn named<'a>(
        &'a self,
        name: &'a str,
        kinds: &'a [Kind],
    ) -> impl Iterator<Item = Type<'a>> + 'a {
        let base = self.base.iter().flat_map(|base| base.candidates(name));
        self.own
            .candidates(name)
            .chain(base)
            .filter_map(|id| self.get(id))
            .filter(|ty| kinds.contains(&ty.kind) && self.bytes(ty.name) == Some(name.as_bytes()))
    }

    fn get(&self, id: u32) -> Option<Type<'_>> {
        match &self.base {
            Some(base) if id < self.own.first_id() => base.get(id),
            _ => self.own.get(id),
        }
    }

    fn bytes(&self, offset: u32) -> Option<&[u8]> {
        match &self.base {
            Some(base) if offset < self.own.first_string() => base.string(offset),
            _ => self.own.string(offset),
        }
    }

    fn text(&self, offset: u32) -> Option<&str> {
        str::from_utf8(self.bytes(offset)?).ok()
    }

    /// Looks through typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<(u32, Type<'_>)> {
        for _ in 0..MAX_CHAIN {
            let ty = self.get(id)?;
            match ty.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    id = ty.size_or_type
                }
                _ => return Some((id, ty)),
            }
        }
        None
    }

    /// `nelems` and type of an element.
    fn array(&self, ty: Type<'_>) -> Option<(u32, u32)> {
        let [element, _index, count] = (ty.kind == Kind::Array)
            .then(|| ty.elements().next())
            .flatten()?;
        Some((count, element))
    }

    fn size(&self, mut id: u32) -> Option<u32> {
        let mut count = 1_u32;
        for _ in 0..MAX_CHAIN {
            let (_, ty) = self.strip(id)?;
            let one = match ty.kind {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float => ty.size_or_type,
                Kind::Ptr => POINTER_SIZE,
                Kind::Array => {
                    let (elements, element) = self.array(ty)?;
                    count = count.checked_mul(elements)?;
                    id = element;
                    continue;
                }
                _ => return None,
            };
            return one.checked_mul(count);
        }
        None
    }

    fn member_of(&self, ty: Type<'_>, path: &str, visits: &mut u32) -> Option<Member> {
        let mut strukt = match ty.kind {
            Kind::Typedef => self.strip(ty.size_or_type)?.1,
            _ => ty,
        };
        let mut bits = 0_u32;
        let mut steps = path.split('.').peekable();
        loop {
            let (name, indices) = split_indices(steps.next()?)?;
            let found = self.find(strukt, name, visits, 0)?;
            bits = bits.checked_add(found.bits)?;
            let mut id = found.id;
            for index in &indices {
                let (count, element) = self.array(self.strip(id)?.1)?;
                // An array of no elements is a flexible one.
                if *index >= count && count != 0 {
                    return None;
                }
                bits =
                    bits.checked_add(self.size(element)?.checked_mul(*index)?.checked_mul(8)?)?;
                id = element;
            }
            if steps.peek().is_some() {
                strukt = self.strip(id)?.1;
                continue;
            }
            return match found.width {
                0 => Some(Member {
                    byte_offset: bits / 8,
                    bit_offset: 0,
                    bitfield_width: None,
                    size: self.size(id)?,
                }),
                width => bitfield(bits, width),
            };
        }
    }

    fn find(&self, strukt: Type<'_>, name: &str, visits: &mut u32, depth: usize) -> Option<Found> {
        if depth > MAX_CHAIN || !matches!(strukt.kind, Kind::Struct | Kind::Union) {
            return None;
        }
        for [member, id, offset] in strukt.elements() {
            *visits = visits.checked_sub(1)?;
            // Bitfields have their width in the upper byte, in a struct that has any.
            let (bits, width) = if strukt.flag {
                (offset & 0xff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            match self.bytes(member) {
                Some(bytes) if bytes == name.as_bytes() => return Some(Found { bits, width, id }),
                Some([]) => {
                    let inner = self
                        .strip(id)
                        .and_then(|(_, inner)| self.find(inner, name, visits, depth + 1));
                    if let Some(inner) = inner {
                        return Some(Found {
                            bits: inner.bits.checked_add(bits)?,
                            ..inner
                        });
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// A member as declared: bits from the start of the searched struct, width if a bitfield, type.
struct Found {
    bits: u32,
    width: u32,
    id: u32,
}

/// The smallest aligned word around a bitfield. Smallest, for the verifier refuses a load that begins in one member and
/// ends in the next, unless it covers bitfields.
fn bitfield(bits: u32, width: u32) -> Option<Member> {
    [1, 2, 4, 8].into_iter().find_map(|size| {
        let byte_offset = bits / 8 / size * size;
        let bit_offset = bits - byte_offset * 8;
        (bit_offset + width <= size * 8).then_some(Member {
            byte_offset,
            bit_offset,
            bitfield_width: Some(width),
            size,
        })
    })
}

/// `name[1][2]` → (`name`, [1, 2]).
fn split_indices(step: &str) -> Option<(&str, Vec<u32>)> {
    let Some((name, rest)) = step.split_once('[') else {
        return (!step.is_empty()).then(|| (step, Vec::new()));
    };
    let indices = rest
        .strip_suffix(']')?
        .split("][")
        .map(|index| index.parse().ok())
        .collect::<Option<_>>()?;
    (!name.is_empty()).then_some((name, indices))
}

fn read(path: &Path) -> Result<Vec<u8>, BtfError> {
    fs::read(path).map_err(|source| BtfError::Read {
        path: path.to_owned(),
        source,
    })
}
