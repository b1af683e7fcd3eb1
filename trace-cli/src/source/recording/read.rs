//! Reading a recording.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use trace_ebpf::{COUNTERS, OLDEST_WIRE_VERSION, WIRE_VERSION};

use super::{
    BLOCK_HEAD, BLOCK_MAGIC, ENTRY_HEAD, FORMAT_VERSION, HEADER, MAGIC, MAX_ITEM, MAX_PACKED,
    MAX_RAW, block_crc, tag,
};
use crate::source::item::{Counters, Item};

/// Why a recording could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened.
    #[error("cannot open the recording {}", path.display())]
    Open {
        /// Which file, `standard input` for that.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file could not be read on.
    #[error("cannot read the recording {} at byte {at}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// From its beginning.
        at: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file does not begin as recordings do.
    #[error("{} is not a recording made by pktjourney -w: {looks_like}", path.display())]
    NotARecording {
        /// Which file.
        path: PathBuf,
        /// What it might be instead.
        looks_like: &'static str,
    },
    /// Another version's format.
    #[error(
        "the recording {} has format {found}, this pktjourney reads format {FORMAT_VERSION}: read it with the \
         {} version that recorded it", path.display(), if *found > FORMAT_VERSION { "newer" } else { "older" }
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its version of the format.
        found: u32,
    },
    /// Its records come from programs that wrote them differently.
    #[error(
        "the recording {} has wire records of version {found}, this pktjourney reads version {WIRE_VERSION}: read it \
         with the version that recorded it", path.display()
    )]
    Wire {
        /// Which file.
        path: PathBuf,
        /// Its version of the wire format.
        found: u32,
    },
    /// The file stops before the trace did. All whole blocks before have been read.
    #[error(
        "the recording {} breaks off at byte {at}, before the trace ended: the run was killed, the disk was full, or \
         the copy is incomplete", path.display()
    )]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// Its length.
        at: u64,
    },
    /// What is there was not written so. All blocks before have been read.
    #[error("the recording {} is damaged at byte {at}: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the block begins that is damaged.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads a recording, item by item.
pub struct Reader {
    input: Input,
    session: String,
    /// The block being read.
    raw: Vec<u8>,
    /// How much of it has been read.
    position: usize,
    /// Where in the file it began.
    block_at: u64,
    packed: Vec<u8>,
    /// An item that goes over several blocks.
    joined: Vec<u8>,
    /// Number the next block must have.
    number: u32,
    /// Counters in each tick.
    counters: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// [`Item::End`] was read.
    Ended,
    /// So was the end of the file, or an error was given.
    Over,
}

impl Reader {
    /// Opens the file and reads its session; `-` stands for standard input.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let (path, file) = if path == Path::new("-") {
            let input = io::stdin().as_fd().try_clone_to_owned();
            (PathBuf::from("standard input"), input.map(File::from))
        } else {
            (path.to_owned(), File::open(path))
        };
        match file {
            Ok(file) => Self::new(Box::new(file), path),
            Err(source) => Err(ReadError::Open { path, source }),
        }
    }

    pub(super) fn new(input: Box<dyn Read + Send>, path: PathBuf) -> Result<Self, ReadError> {
        let mut input = Input {
            bytes: BufReader::with_capacity(MAX_RAW, input),
            path,
            at: 0,
        };
        let counters = input.header()?;
        let mut reader = Self {
            input,
            session: String::new(),
            raw: Vec::new(),
            position: 0,
            block_at: 0,
            packed: Vec::new(),
            joined: Vec::new(),
            number: 0,
            counters,
            state: State::Reading,
        };
        let session = match reader.entry()? {
            Some((tag::SESSION, Body::InBlock(range))) => &reader.raw[range],
            Some((tag::SESSION, Body::Joined)) => &reader.joined[..],
            Some(_) => return Err(reader.damaged("it does not begin with the session")),
            None => return Err(reader.input.truncated()),
        };
        reader.session = match std::str::from_utf8(session) {
            Ok(session) => session.to_owned(),
            Err(_) => return Err(reader.damaged("the session is not text")),
        };
        Ok(reader)
    }

    /// What was given to [`Writer::create`](super::Writer::create).
    pub fn session_json(&self) -> &str {
        &self.session
    }

    /// The next item; `None` after [`Item::End`], and after an error.
    #[expect(
        clippy::should_implement_trait,
        reason = "items borrow from the reader, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        if self.state == State::Over {
            return Ok(None);
        }
        // Until it is known to be otherwise: an error is given once.
        let state = std::mem::replace(&mut self.state, State::Over);
        let Some((tag, body)) = self.entry()? else {
            return match state {
                State::Ended => Ok(None),
                _ => Err(self.input.truncated()),
            };
        };
        if state == State::Ended {
            return Err(self.damaged("something follows the end of the trace"));
        }
        let body = match body {
            Body::InBlock(range) => &self.raw[range],
            Body::Joined => &self.joined,
        };
        match item(tag, body, self.counters) {
            Ok(item) => {
                self.state = match item {
                    Item::End { .. } => State::Ended,
                    _ => State::Reading,
                };
                Ok(Some(item))
            }
            Err(what) => Err(self.input.damaged(self.block_at, what)),
        }
    }

    /// The next entry, or several joined; `None` at the end of the file, provided that no block is cut.
    fn entry(&mut self) -> Result<Option<(u8, Body)>, ReadError> {
        let mut joining = None;
        self.joined.clear();
        loop {
            if self.position == self.raw.len() && !self.block()? {
                return match joining {
                    None => Ok(None),
                    Some(_) => Err(self.input.truncated()),
                };
            }
            let Some((tag, body)) = self.piece() else {
                return Err(self.damaged("an entry is longer than its block"));
            };
            let more = tag & tag::MORE != 0;
            let tag = tag & !tag::MORE;
            if joining.is_some_and(|joining| joining != tag) {
                return Err(self.damaged("an entry is not continued"));
            }
            if !more && joining.is_none() {
                return Ok(Some((tag, Body::InBlock(body))));
            }
            if self.joined.len() + body.len() > MAX_ITEM {
                return Err(self.damaged("an entry is longer than any may be"));
            }
            self.joined.extend_from_slice(&self.raw[body]);
            if !more {
                return Ok(Some((tag, Body::Joined)));
            }
            joining = Some(tag);
        }
    }

    /// The next entry of the block, as it is there: tag and where the body is.
    fn piece(&mut self) -> Option<(u8, Range<usize>)> {
        let [tag, low, high] = *self.raw[self.position..].first_chunk::<ENTRY_HEAD>()?;
        let start = self.position + ENTRY_HEAD;
        let end = start + usize::from(u16::from_le_bytes([low, high]));
        self.raw.get(start..end)?;
        self.position = end;
        Some((tag, start..end))
    }

    /// Reads the next block; `false` at the end of the file.
    fn block(&mut self) -> Result<bool, ReadError> {
        self.raw.clear();
        self.position = 0;
        self.block_at = self.input.at;
        let mut head = [0; BLOCK_HEAD];
        let there = self.input.fill(&mut head)?;
        if there == 0 {
            return Ok(false);
        }
        if !BLOCK_MAGIC.starts_with(&head[..there.min(BLOCK_MAGIC.len())]) {
            return Err(self.damaged("no block begins here"));
        }
        if there < BLOCK_HEAD {
            return Err(self.input.truncated());
        }
        let [number, raw, packed, crc] = [4, 8, 12, 16].map(|at| u32_at(&head, at));
        let (raw, packed) = (raw as usize, packed as usize);
        if raw == 0 || raw > MAX_RAW || packed > MAX_PACKED {
            return Err(self.damaged("a block's length is out of bounds"));
        }
        self.packed.resize(packed, 0);
        if self.input.fill(&mut self.packed)? != packed {
            return Err(self.input.truncated());
        }
        if block_crc(&head, &self.packed) != crc {
            return Err(self.damaged("a block's checksum does not match"));
        }
        if number != self.number {
            return Err(self.damaged("blocks are missing or out of order"));
        }
        self.number = number.wrapping_add(1);
        self.raw.resize(raw, 0);
        match lz4_flex::block::decompress_into(&self.packed, &mut self.raw) {
            Ok(bytes) if bytes == raw => Ok(true),
            _ => {
                self.raw.clear();
                Err(self.damaged("a block cannot be decompressed"))
            }
        }
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        self.input.damaged(self.block_at, what)
    }
}

/// Where an entry's body is.
enum Body {
    InBlock(Range<usize>),
    Joined,
}

struct Input {
    bytes: BufReader<Box<dyn Read + Send>>,
    path: PathBuf,
    /// Bytes read so far.
    at: u64,
}

impl Input {
    /// Checks the header; gives the number of counters in a tick.
    fn header(&mut self) -> Result<usize, ReadError> {
        let mut header = [0; HEADER];
        let bytes = self.fill(&mut header)?;
        let there = &header[..bytes];
        let magic = &there[..bytes.min(MAGIC.len())];
        if bytes == 0 || !MAGIC.starts_with(magic) {
            return Err(ReadError::NotARecording {
                path: self.path.clone(),
                looks_like: looks_like(there),
            });
        }
        if bytes < HEADER {
            return Err(self.truncated());
        }
        let [format, wire, counters, crc] = [8, 12, 16, 20].map(|at| u32_at(&header, at));
        if crc32fast::hash(&header[..HEADER - 4]) != crc {
            return Err(self.damaged(0, "the header's checksum does not match"));
        }
        let path = || self.path.clone();
        if format != FORMAT_VERSION {
            return Err(ReadError::Format {
                path: path(),
                found: format,
            });
        }
        if !(OLDEST_WIRE_VERSION..=WIRE_VERSION).contains(&wire) {
            return Err(ReadError::Wire {
                path: path(),
                found: wire,
            });
        }
        // Counters are only ever added at the end. One that is not known here must not be left out of the ledger.
        if counters > COUNTERS {
            return Err(self.damaged(0, "it has counters that this version does not know"));
        }
        Ok(counters as usize)
    }

    /// Reads until the buffer is full or the file ends; gives how much that was.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.bytes.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => {
                    filled += bytes;
                    self.at += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Read {
                        path: self.path.clone(),
                        at: self.at,
                        source,
                    });
                }
            }
        }
        Ok(filled)
    }

    fn truncated(&self) -> ReadError {
        ReadError::Truncated {
            path: self.path.clone(),
            at: self.at,
        }
    }

    fn damaged(&self, at: u64, what: &'static str) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            at,
            what,
        }
    }
}

/// Names what people are likely to give instead.
fn looks_like(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty",
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, ..] => {
            "it is a packet capture, which has packets but not their way through the kernel"
        }
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            "it is compressed; uncompress it first (zcat, zstdcat or xzcat FILE | pktjourney … -r -)"
        }
        [b'{', ..] => "it is JSON, perhaps pktjourney's own output",
        _ => "it does not begin like one",
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn item(tag: u8, body: &[u8], counters: usize) -> Result<Item<'_>, &'static str> {
    match tag {
        tag::RECORD => Ok(Item::Record(body)),
        tag::NAMES => match std::str::from_utf8(body) {
            Ok(json) => Ok(Item::Names(json)),
            Err(_) => Err("names are not text"),
        },
        tag::MOMENT => match std::str::from_utf8(body) {
            Ok(json) => Ok(Item::Moment(json)),
            Err(_) => Err("counters are not text"),
        },
        tag::TICK => time(body, counters).map(|(now, counters)| Item::Tick { now, counters }),
        tag::END => time(body, counters).map(|(now, counters)| Item::End { now, counters }),
        _ => Err("an entry has an unknown tag"),
    }
}

/// Body of a tick and of the end.
fn time(body: &[u8], counters: usize) -> Result<(u64, Counters), &'static str> {
    let (numbers, rest) = body.as_chunks::<8>();
    match numbers {
        [now, values @ ..] if rest.is_empty() && values.len() == counters => {
            let mut counters = Counters::default();
            for (counter, value) in counters.iter_mut().zip(values) {
                *counter = u64::from_le_bytes(*value);
            }
            Ok((u64::from_le_bytes(*now), counters))
        }
        _ => Err("a tick has the wrong length"),
    }
}
