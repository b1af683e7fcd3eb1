//! Writing a recording.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use lz4_flex::block::{CompressTable, compress_into_with_table};
use rustix::{fs::OFlags, io::Errno};
use trace_ebpf::{COUNTERS, WIRE_VERSION};

use super::{
    BLOCK_HEAD, BLOCK_MAGIC, ENTRY_HEAD, FORMAT_VERSION, HEADER, MAGIC, MAX_ITEM, MAX_PACKED,
    MAX_RAW, block_crc, tag,
};
use crate::source::item::{Counters, Item};

/// A run that is killed loses at most so much of its recording.
const FLUSH_NS: u64 = 1_000_000_000;

/// Why a recording could not be made or continued.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file could not be opened.
    #[error("cannot create the recording {}", path.display())]
    Create {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A symbolic link is not followed: in a folder for all, it may be anyone's.
    #[error("{} is a symbolic link; name the file itself, or - for standard output", path.display())]
    Link {
        /// Which file.
        path: PathBuf,
    },
    /// Standard output is a terminal.
    #[error(
        "a recording is not for the terminal: send it to a file (-w FILE) or a pipe (-w - | …)"
    )]
    Terminal,
    /// What was to be written was not.
    #[error("cannot write to the recording {}{}", path.display(), advice(source))]
    Write {
        /// Which file, `standard output` for that.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An earlier write failed, nothing more is written.
    #[error("the recording {} was given up when a write to it failed", path.display())]
    GivenUp {
        /// Which file.
        path: PathBuf,
    },
    /// An item or the session is longer than [`MAX_ITEM`]; it is left out, and recording may go on.
    #[error("{bytes} bytes in one piece are too long for a recording (at most {MAX_ITEM})")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            ": no room is left there. Make room or record elsewhere; what was written so far can be read with -r"
        }
        Some(Errno::FBIG) => {
            ": it has reached the greatest length a file may have (ulimit -f); what was written so far can be read with -r"
        }
        _ => "",
    }
}

/// Writes a recording.
///
/// Items gather in a block, which is written when it is full or a second old. The first error is the last: what comes
/// after it is refused, and the file is good up to there.
pub struct Writer {
    /// `None` after an error.
    output: Option<Box<dyn Write + Send>>,
    path: PathBuf,
    raw: Vec<u8>,
    /// A block as it is written, at its greatest length.
    packed: Box<[u8]>,
    table: CompressTable,
    number: u32,
    flushed: Option<u64>,
}

impl Writer {
    /// Creates the file, readable by its owner alone, or empties the one that is there; `-` stands for standard output.
    /// `session_json` is what a reader must know before the first item.
    pub fn create(path: &Path, session_json: &str) -> Result<Self, WriteError> {
        if path == Path::new("-") {
            let output = io::stdout();
            if output.is_terminal() {
                return Err(WriteError::Terminal);
            }
            let path = PathBuf::from("standard output");
            // Not through std's stdout, which would look for line ends and keep the last bytes to itself.
            return match output.as_fd().try_clone_to_owned() {
                Ok(output) => Self::new(Box::new(File::from(output)), path, session_json),
                Err(source) => Err(WriteError::Create { path, source }),
            };
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Self::new(Box::new(file), path, session_json),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) && is_link(&path) => {
                Err(WriteError::Link { path })
            }
            Err(source) => Err(WriteError::Create { path, source }),
        }
    }

    /// Header and session are written at once, so that the file is a recording from the beginning.
    pub(super) fn new(
        output: Box<dyn Write + Send>,
        path: PathBuf,
        session_json: &str,
    ) -> Result<Self, WriteError> {
        let mut writer = Self {
            output: Some(output),
            path,
            raw: Vec::with_capacity(MAX_RAW),
            packed: vec![0; BLOCK_HEAD + MAX_PACKED].into_boxed_slice(),
            table: CompressTable::default(),
            number: 0,
            flushed: None,
        };
        writer.output(&header())?;
        writer.entries(tag::SESSION, session_json.as_bytes())?;
        writer.end_block()?;
        Ok(writer)
    }

    /// Adds an item. After [`Item::End`], call [`Writer::finish`].
    pub fn write(&mut self, item: &Item<'_>) -> Result<(), WriteError> {
        match *item {
            Item::Record(bytes) => self.entries(tag::RECORD, bytes),
            Item::Names(json) => self.entries(tag::NAMES, json.as_bytes()),
            Item::Moment(json) => self.entries(tag::MOMENT, json.as_bytes()),
            Item::Tick { now, ref counters } => {
                self.entries(tag::TICK, &time(now, counters))?;
                self.flush_if_due(now)
            }
            Item::End { now, ref counters } => self.entries(tag::END, &time(now, counters)),
        }
    }

    /// Writes out what has gathered if the last time was a second ago or more. Every tick does so too.
    pub fn flush_if_due(&mut self, now: u64) -> Result<(), WriteError> {
        let flushed = *self.flushed.get_or_insert(now);
        if now.saturating_sub(flushed) >= FLUSH_NS {
            self.flushed = Some(now);
            self.end_block()?;
        }
        Ok(())
    }

    /// Writes out the rest. Without an [`Item::End`] before, readers will call the recording truncated.
    pub fn finish(mut self) -> Result<(), WriteError> {
        self.end_block()
    }

    fn entries(&mut self, tag: u8, mut body: &[u8]) -> Result<(), WriteError> {
        if self.output.is_none() {
            return Err(WriteError::GivenUp {
                path: self.path.clone(),
            });
        }
        if body.len() > MAX_ITEM {
            return Err(WriteError::TooLong { bytes: body.len() });
        }
        loop {
            let room = MAX_RAW - self.raw.len();
            // A block is only left unfilled when not even one byte would fit, or when the item would fit into the next
            // one as a whole: pieces have to be put together again.
            let whole = ENTRY_HEAD + body.len();
            if room <= ENTRY_HEAD || (room < whole && whole <= MAX_RAW) {
                self.end_block()?;
                continue;
            }
            let bytes = body.len().min(room - ENTRY_HEAD);
            let (piece, rest) = body.split_at(bytes);
            let more = if rest.is_empty() { 0 } else { tag::MORE };
            self.raw.push(tag | more);
            self.raw.extend_from_slice(&(bytes as u16).to_le_bytes());
            self.raw.extend_from_slice(piece);
            if rest.is_empty() {
                return Ok(());
            }
            body = rest;
        }
    }

    fn end_block(&mut self) -> Result<(), WriteError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let (head, body) = self.packed.split_at_mut(BLOCK_HEAD);
        let packed = compress_into_with_table(&self.raw, body, &mut self.table)
            .expect("the buffer is as long as LZ4 can need");
        head[..4].copy_from_slice(&BLOCK_MAGIC);
        head[4..8].copy_from_slice(&self.number.to_le_bytes());
        head[8..12].copy_from_slice(&(self.raw.len() as u32).to_le_bytes());
        head[12..16].copy_from_slice(&(packed as u32).to_le_bytes());
        let crc = block_crc(head, &body[..packed]);
        head[16..].copy_from_slice(&crc.to_le_bytes());
        self.raw.clear();
        self.number = self.number.wrapping_add(1);
        let block = std::mem::take(&mut self.packed);
        let written = self.output(&block[..BLOCK_HEAD + packed]);
        self.packed = block;
        written
    }

    fn output(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let path = || self.path.clone();
        let Some(output) = &mut self.output else {
            return Err(WriteError::GivenUp { path: path() });
        };
        output.write_all(bytes).map_err(|source| {
            self.output = None;
            self.raw.clear();
            WriteError::Write {
                path: path(),
                source,
            }
        })
    }
}

/// An early return must not lose what there is, though it can no longer say why it might be lost.
impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.end_block();
    }
}

fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&WIRE_VERSION.to_le_bytes());
    header[16..20].copy_from_slice(&COUNTERS.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Body of a tick and of the end.
fn time(now: u64, counters: &Counters) -> [u8; 8 + size_of::<Counters>()] {
    let mut bytes = [0; 8 + size_of::<Counters>()];
    let numbers = std::iter::once(&now).chain(counters);
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_symlink())
}
