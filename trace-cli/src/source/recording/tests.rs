use std::{
    fs,
    io::{self, Cursor, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::*;
use crate::source::item::{Counters, Item};

const SESSION: &str = r#"{"host":"here"}"#;
const SECOND: u64 = 1_000_000_000;

fn counters(first: u64) -> Counters {
    std::array::from_fn(|n| first + n as u64)
}

fn tick(now: u64) -> Item<'static> {
    Item::Tick {
        now,
        counters: counters(now / 7),
    }
}

fn end(now: u64) -> Item<'static> {
    Item::End {
        now,
        counters: counters(now),
    }
}

/// Pseudo-random numbers that are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Memory as a file that can be looked at while it is written, and that has room for so many bytes.
#[derive(Clone)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Disk {
    fn new(room: usize) -> Self {
        Self {
            bytes: Arc::default(),
            room,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn writer(&self) -> Result<Writer, WriteError> {
        Writer::new(Box::new(self.clone()), PathBuf::from("disk"), SESSION)
    }
}

impl Write for Disk {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().unwrap();
        let fits = buffer.len().min(self.room - bytes.len());
        if fits == 0 && !buffer.is_empty() {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        bytes.extend_from_slice(&buffer[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record(items: &[Item<'_>]) -> Vec<u8> {
    let disk = Disk::new(usize::MAX);
    let mut writer = disk.writer().unwrap();
    for item in items {
        writer.write(item).unwrap();
    }
    writer.finish().unwrap();
    disk.bytes()
}

fn open(bytes: &[u8]) -> Result<Reader, ReadError> {
    Reader::new(Box::new(Cursor::new(bytes.to_vec())), PathBuf::from("file"))
}

/// Everything that can be read, in its debug form, and what came then.
fn read(bytes: &[u8]) -> (Vec<String>, Result<(), ReadError>) {
    let mut items = Vec::new();
    let mut reader = match open(bytes) {
        Ok(reader) => reader,
        Err(error) => return (items, Err(error)),
    };
    assert_eq!(reader.session_json(), SESSION);
    let result = loop {
        match reader.next() {
            Ok(Some(item)) => items.push(format!("{item:?}")),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(matches!(reader.next(), Ok(None)), "an error is given once");
    (items, result)
}

fn debug(items: &[Item<'_>]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

/// Three blocks after the session's.
fn small() -> (Vec<Item<'static>>, Vec<u8>) {
    let items = vec![
        Item::Moment(r#"{"taken_ns":1}"#),
        Item::Names(r#"{"symbols":["ip_rcv"]}"#),
        Item::Record(&[1, 0, 4, 0]),
        Item::Record(&[]),
        tick(SECOND),
        Item::Record(&[7; 376]),
        tick(2 * SECOND),
        Item::Record(b"last"),
        tick(3 * SECOND),
        end(3 * SECOND + 1),
    ];
    let bytes = record(&items);
    (items, bytes)
}

#[test]
fn what_was_written_is_read() {
    let (items, bytes) = small();
    let (read, result) = read(&bytes);
    assert_eq!(read, debug(&items));
    result.unwrap();
}

#[test]
fn nothing_but_the_end() {
    let (items, result) = read(&record(&[end(5)]));
    assert_eq!(items, debug(&[end(5)]));
    result.unwrap();
}

#[test]
fn items_of_every_length() {
    let mut random = Random(1);
    let lengths = (0..600).chain([
        65_529, 65_532, 65_533, 65_534, 65_535, 65_536, 65_537, 200_000,
    ]);
    let bodies: Vec<_> = lengths.map(|length| random.bytes(length)).collect();
    let mut items: Vec<_> = bodies.iter().map(|body| Item::Record(body)).collect();
    let names = "ä".repeat(100_000);
    items.extend([Item::Names(&names), tick(1), Item::Names(""), end(2)]);
    let (read, result) = read(&record(&items));
    result.unwrap();
    assert!(read == debug(&items));
}

#[test]
fn long_session() {
    let session = format!(r#"{{"plan":"{}"}}"#, "tp_btf ".repeat(50_000));
    let disk = Disk::new(usize::MAX);
    let writer = Writer::new(Box::new(disk.clone()), PathBuf::from("disk"), &session).unwrap();
    writer.finish().unwrap();
    assert_eq!(open(&disk.bytes()).unwrap().session_json(), session);
}

#[test]
fn too_long_an_item_is_left_out() {
    let disk = Disk::new(usize::MAX);
    let mut writer = disk.writer().unwrap();
    let longest = " ".repeat(MAX_ITEM);
    writer.write(&Item::Names(&longest)).unwrap();
    let error = writer
        .write(&Item::Names(&format!("{longest} ")))
        .unwrap_err();
    assert!(matches!(error, WriteError::TooLong { bytes } if bytes == MAX_ITEM + 1));
    writer.write(&end(1)).unwrap();
    writer.finish().unwrap();
    let (items, result) = read(&disk.bytes());
    result.unwrap();
    assert!(items == debug(&[Item::Names(&longest), end(1)]));
}

#[test]
fn a_killed_run_leaves_what_is_a_second_old() {
    let disk = Disk::new(usize::MAX);
    let mut writer = disk.writer().unwrap();
    let mut items = vec![tick(SECOND), Item::Record(b"old")];
    items.push(tick(2 * SECOND));
    items.push(Item::Record(b"young"));
    items.push(tick(3 * SECOND - 1));
    for item in &items {
        writer.write(item).unwrap();
    }
    let killed = disk.bytes();
    let (before, result) = read(&killed);
    assert_eq!(before, debug(&items[..3]));
    let Err(ReadError::Truncated { at, .. }) = result else {
        panic!("{result:?}")
    };
    assert_eq!(at, killed.len() as u64);
    writer.flush_if_due(3 * SECOND).unwrap();
    assert_eq!(read(&disk.bytes()).0, debug(&items));
}

#[test]
fn a_writer_that_is_dropped_keeps_what_it_has() {
    let disk = Disk::new(usize::MAX);
    disk.writer()
        .unwrap()
        .write(&Item::Record(b"kept"))
        .unwrap();
    let (items, result) = read(&disk.bytes());
    assert_eq!(items, debug(&[Item::Record(b"kept")]));
    assert!(matches!(result, Err(ReadError::Truncated { .. })));
}

#[test]
fn every_truncation() {
    let (items, bytes) = small();
    let items = debug(&items);
    let mut lengths = Vec::new();
    for length in 0..bytes.len() {
        let (read, result) = read(&bytes[..length]);
        assert!(items.starts_with(&read), "{length}");
        assert_ne!(read, items, "{length}");
        match result {
            Err(ReadError::NotARecording { looks_like, .. }) if length == 0 => {
                assert_eq!(looks_like, "it is empty");
            }
            Err(ReadError::Truncated { at, .. }) => assert_eq!(at, length as u64),
            other => panic!("{length}: {other:?}"),
        }
        lengths.push(read.len());
    }
    lengths.dedup();
    assert_eq!(lengths, [0, 7, 9], "whole blocks are delivered");
}

#[test]
fn every_damaged_byte() {
    let (items, bytes) = small();
    let items = debug(&items);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff, bytes[at]] {
            if flip == 0 {
                continue;
            }
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let (read, result) = read(&bytes);
            assert!(items.starts_with(&read), "{at}");
            match result.unwrap_err() {
                ReadError::NotARecording { .. } => assert!(at < MAGIC.len()),
                ReadError::Damaged { at: found, .. } => assert!(found <= at as u64, "{at}"),
                // A length that is now too great.
                ReadError::Truncated { .. } => {}
                other => panic!("{at}: {other}"),
            }
        }
    }
}

#[test]
fn random_bytes() {
    let mut random = Random(2);
    let (_, good) = small();
    for _ in 0..2_000 {
        let length = random.next() as usize % 500;
        let junk = random.bytes(length);
        assert!(matches!(
            read(&junk).1,
            Err(ReadError::NotARecording { .. })
        ));
        for start in [HEADER, HEADER + BLOCK_HEAD, 100] {
            let mut bytes = good[..start].to_vec();
            bytes.extend_from_slice(&junk);
            assert!(read(&bytes).1.is_err());
        }
    }
}

/// Blocks whose checksum is right but whose content is not: what an attacker would write.
#[test]
fn hostile_blocks() {
    let (_, good) = small();
    let session_end = HEADER + BLOCK_HEAD + u32_at(&good, HEADER + 12) as usize;
    let mut random = Random(3);
    let mut blocks: Vec<(u32, Vec<u8>)> = Vec::new();
    // Not LZ4, or LZ4 of another length.
    for _ in 0..20_000 {
        let length = random.next() as usize % 64;
        let raw = match random.next() % 4 {
            0 => 1,
            1 => MAX_RAW as u32,
            _ => random.next() as u32 % 300,
        };
        let mut packed = random.bytes(length);
        if random.next().is_multiple_of(2) {
            // Long runs of 255 are long lengths.
            packed.extend([0xff; 300]);
        }
        blocks.push((raw, packed));
    }
    // LZ4 of what are no entries, or not of this version.
    for _ in 0..2_000 {
        let length = 1 + random.next() as usize % 40;
        let mut raw = random.bytes(length);
        raw[0] = (random.next() as u8 % 8) | (random.next() as u8 & tag::MORE);
        if raw.len() > 2 {
            raw[2] = 0;
        }
        blocks.push((raw.len() as u32, lz4_flex::block::compress(&raw)));
    }
    for (raw, packed) in blocks {
        let mut bytes = good[..session_end].to_vec();
        bytes.extend_from_slice(&block(1, raw, packed.len() as u32, &packed));
        let (_, result) = read(&bytes);
        assert!(result.is_err());
    }
}

#[test]
fn hostile_lengths() {
    let (_, good) = small();
    for (raw, packed) in [
        (0, 0),
        (u32::MAX, 10),
        (MAX_RAW as u32 + 1, 10),
        (10, u32::MAX),
        (10, MAX_PACKED as u32 + 1),
    ] {
        let mut bytes = good[..HEADER].to_vec();
        bytes.extend_from_slice(&block(0, raw, packed, &[0; 10]));
        let Err(ReadError::Damaged { at, what, .. }) = read(&bytes).1 else {
            panic!("{raw} {packed}")
        };
        assert_eq!((at, what), (24, "a block's length is out of bounds"));
    }
}

#[test]
fn hostile_endless_item() {
    let mut raw = vec![tag::NAMES | tag::MORE, 0xfd, 0xff];
    raw.resize(MAX_RAW, b' ');
    let packed = lz4_flex::block::compress(&raw);
    let mut bytes = record(&[]);
    for number in 1..1_000 {
        bytes.extend_from_slice(&block(number, MAX_RAW as u32, packed.len() as u32, &packed));
    }
    let Err(ReadError::Damaged { what, .. }) = read(&bytes).1 else {
        panic!()
    };
    assert_eq!(what, "an entry is longer than any may be");
}

#[test]
fn entries_that_make_no_sense() {
    let more = tag::MORE;
    const LENGTH: usize = 8 + size_of::<Counters>();
    let end = [&[tag::END, LENGTH as u8, 0][..], &[0; LENGTH]].concat();
    for (raw, expected) in [
        (vec![0, 0, 0], "an entry has an unknown tag"),
        (vec![7, 0, 0], "an entry has an unknown tag"),
        (vec![tag::SESSION, 0, 0], "an entry has an unknown tag"),
        (vec![tag::RECORD], "an entry is longer than its block"),
        (vec![tag::RECORD, 1, 0], "an entry is longer than its block"),
        (vec![tag::NAMES, 1, 0, 0xff], "names are not text"),
        (vec![tag::TICK, 1, 0, 0], "a tick has the wrong length"),
        (vec![tag::END, 0, 0], "a tick has the wrong length"),
        (
            vec![tag::RECORD | more, 0, 0, tag::NAMES, 0, 0],
            "an entry is not continued",
        ),
        (
            [&end[..], &[tag::RECORD, 0, 0]].concat(),
            "something follows the end of the trace",
        ),
        (
            [&end[..], &end].concat(),
            "something follows the end of the trace",
        ),
    ] {
        let packed = lz4_flex::block::compress(&raw);
        let mut bytes = record(&[]);
        bytes.extend_from_slice(&block(1, raw.len() as u32, packed.len() as u32, &packed));
        let Err(ReadError::Damaged { what, .. }) = read(&bytes).1 else {
            panic!("{raw:?}")
        };
        assert_eq!(what, expected, "{raw:?}");
    }
}

#[test]
fn bytes_after_the_end() {
    let mut bytes = record(&[end(1)]);
    let at_end = bytes.len() as u64;
    bytes.push(b'x');
    let (items, result) = read(&bytes);
    assert_eq!(items, debug(&[end(1)]));
    assert!(matches!(result, Err(ReadError::Damaged { at, .. }) if at == at_end));
}

#[test]
fn a_block_that_is_missing_or_twice_there() {
    let (_, bytes) = small();
    let mut starts = Vec::new();
    let mut at = HEADER;
    while at < bytes.len() {
        starts.push(at);
        at += BLOCK_HEAD + u32_at(&bytes, at + 12) as usize;
    }
    let missing = [&bytes[..starts[1]], &bytes[starts[2]..]].concat();
    let twice = [&bytes[..starts[2]], &bytes[starts[1]..]].concat();
    for (bytes, expected) in [(missing, starts[1]), (twice, starts[2])] {
        let Err(ReadError::Damaged { at, what, .. }) = read(&bytes).1 else {
            panic!()
        };
        assert_eq!(what, "blocks are missing or out of order");
        assert_eq!(at, expected as u64);
    }
}

#[test]
fn other_versions() {
    let message = |at: usize, value: u32| {
        let (_, mut bytes) = small();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        open(&bytes).err().map(|error| error.to_string())
    };
    assert_eq!(
        message(8, FORMAT_VERSION + 1).unwrap(),
        "the recording file has format 2, this pktjourney reads format 1: read it with the newer version that recorded it"
    );
    assert!(message(8, 0).unwrap().contains("older version"));
    assert!(
        message(12, trace_ebpf::WIRE_VERSION + 1)
            .unwrap()
            .contains("wire records of version")
    );
    assert!(
        message(16, trace_ebpf::COUNTERS + 1)
            .unwrap()
            .contains("counters")
    );
    assert_eq!(message(12, trace_ebpf::WIRE_VERSION), None);
}

/// Counters that the recording's version did not have are zero.
#[test]
fn fewer_counters() {
    let mut bytes = record(&[])[..HEADER].to_vec();
    bytes[16..20].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    let mut raw = vec![tag::SESSION, SESSION.len() as u8, 0];
    raw.extend_from_slice(SESSION.as_bytes());
    raw.extend_from_slice(&[tag::END, 24, 0]);
    for number in [9_u64, 3, 4] {
        raw.extend_from_slice(&number.to_le_bytes());
    }
    let packed = lz4_flex::block::compress(&raw);
    bytes.extend_from_slice(&block(0, raw.len() as u32, packed.len() as u32, &packed));
    let mut reader = open(&bytes).unwrap();
    let mut counters = Counters::default();
    (counters[0], counters[1]) = (3, 4);
    assert_eq!(reader.next().unwrap(), Some(Item::End { now: 9, counters }));
    assert_eq!(reader.next().unwrap(), None);
}

#[test]
fn other_files() {
    for (bytes, expected) in [
        (&b""[..], "it is empty"),
        (b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "packet capture"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"{\"type\":\"session\"}", "JSON"),
        (
            b"hello, this is a text that is long enough",
            "does not begin like one",
        ),
    ] {
        let error = read(bytes).1.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn full_disk() {
    let (_, good) = small();
    let session_end = HEADER + BLOCK_HEAD + u32_at(&good, HEADER + 12) as usize;
    for room in session_end..good.len() {
        let disk = Disk::new(room);
        let mut writer = disk.writer().unwrap();
        let (items, _) = small();
        let error = items
            .iter()
            .find_map(|item| writer.write(item).err())
            .or_else(|| writer.flush_if_due(u64::MAX).err())
            .expect("it does not fit");
        assert!(matches!(error, WriteError::Write { .. }));
        assert_eq!(
            error.to_string(),
            "cannot write to the recording disk: no room is left there. Make room or record elsewhere; what was \
             written so far can be read with -r"
        );
        for item in &items {
            assert!(matches!(
                writer.write(item),
                Err(WriteError::GivenUp { .. })
            ));
        }
        assert!(matches!(
            writer.flush_if_due(u64::MAX),
            Ok(()) | Err(WriteError::GivenUp { .. })
        ));
        drop(writer);
        assert_eq!(
            disk.bytes(),
            good[..room],
            "nothing was written after the error"
        );
        let (read, result) = read(&disk.bytes());
        assert!(debug(&items).starts_with(&read));
        assert!(matches!(result, Err(ReadError::Truncated { .. })));
    }
    assert!(Disk::new(10).writer().is_err());
}

#[test]
fn full_device() {
    let error = Writer::create(Path::new("/dev/full"), SESSION)
        .err()
        .unwrap();
    assert!(matches!(error, WriteError::Write { .. }));
    assert!(error.to_string().contains("/dev/full: no room is left"));
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.pj");
    let mut writer = Writer::create(&path, SESSION).unwrap();
    writer
        .write(&Item::Record(b"long enough to be seen"))
        .unwrap();
    writer.write(&end(1)).unwrap();
    writer.finish().unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // Recorded over: nothing of the old one is left.
    let mut writer = Writer::create(&path, SESSION).unwrap();
    writer.write(&end(2)).unwrap();
    writer.finish().unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.session_json(), SESSION);
    assert_eq!(reader.next().unwrap(), Some(end(2)));
    assert_eq!(reader.next().unwrap(), None);

    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        Writer::create(&link, SESSION).err(),
        Some(WriteError::Link { .. })
    ));
    assert!(Reader::open(&link).is_ok());

    let missing = folder.path().join("no/such");
    assert!(matches!(
        Writer::create(&missing, SESSION).err(),
        Some(WriteError::Create { .. })
    ));
    assert!(matches!(
        Reader::open(&missing).err(),
        Some(ReadError::Open { .. })
    ));
    assert!(matches!(
        Reader::open(folder.path()).err(),
        Some(ReadError::Read { at: 0, .. })
    ));
}

/// A block as given, with the right checksum.
fn block(number: u32, raw: u32, packed: u32, bytes: &[u8]) -> Vec<u8> {
    let mut block = BLOCK_MAGIC.to_vec();
    for value in [number, raw, packed, 0] {
        block.extend_from_slice(&value.to_le_bytes());
    }
    let crc = block_crc(&block, bytes);
    block[16..].copy_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(bytes);
    block
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
