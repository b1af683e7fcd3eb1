//! How small and how fast recordings are, for docs/recording.md:
//!
//! ```text
//! cargo run --release --example recording_speed [FILE]
//! ```
//!
//! With a recording's name, its items are recorded again; without, made-up ones: a million packets of a few TCP
//! connections, two segments each.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use pktjourney::source::{
    item::{Counters, Item},
    recording::{Reader, Writer},
};
use trace_ebpf::{Hook, Kind, PACKET_BYTES, flags};

/// Stamps in each made-up segment.
const STAMPS: [Hook; 10] = [
    Hook::Poll,
    Hook::Gro,
    Hook::Receive,
    Hook::Ip,
    Hook::NfEnter,
    Hook::NfLeave,
    Hook::Deliver,
    Hook::Transport,
    Hook::TcpSocket,
    Hook::Queued,
];

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = folder.path().join("first");
    let (records, bytes, source) = match std::env::args_os().nth(1) {
        Some(file) => load(Path::new(&file))?,
        None => make_up(1_000_000),
    };
    let writing = Instant::now();
    let mut writer = Writer::create(&first, "{}")?;
    let mut now = 0;
    for (number, range) in records.iter().enumerate() {
        writer.write(&Item::Record(&source[range.clone()]))?;
        if number % 100_000 == 99_999 {
            now += 1_000_000_000;
            let counters = Counters::default();
            writer.write(&Item::Tick { now, counters })?;
        }
    }
    let counters = Counters::default();
    writer.write(&Item::End { now, counters })?;
    writer.finish()?;
    let writing = writing.elapsed().as_secs_f64();

    let reading = Instant::now();
    let mut reader = Reader::open(&first)?;
    let mut read = 0;
    while let Some(item) = reader.next()? {
        read += usize::from(matches!(item, Item::Record(_)));
    }
    let reading = reading.elapsed().as_secs_f64();
    anyhow::ensure!(read == records.len(), "{read} records came back");

    let file = std::fs::metadata(&first)?.len() as f64;
    let (count, bytes) = (records.len() as f64, bytes as f64);
    println!("records              {count:>10}");
    println!(
        "bytes per record     {:>10.1} from the kernel",
        bytes / count
    );
    println!(
        "                     {:>10.1} in the file ({:.2} to 1)",
        file / count,
        bytes / file
    );
    for (what, seconds) in [("written", writing), ("read", reading)] {
        let (speed, records) = (bytes / seconds / 1e6, count / seconds / 1e6);
        println!("{what:<20} {speed:>10.0} MB/s, {records:.2} million records a second");
    }
    Ok(())
}

type Records = (Vec<std::ops::Range<usize>>, usize, Vec<u8>);

fn load(path: &Path) -> Result<Records> {
    let mut reader = Reader::open(path)?;
    let (mut records, mut bytes) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next().context("the file is used up to here")? {
        if let Item::Record(record) = item {
            records.push(bytes.len()..bytes.len() + record.len());
            bytes.extend_from_slice(record);
        }
    }
    Ok((records, bytes.len(), bytes))
}

fn make_up(packets: u64) -> Records {
    let mut random = Random(1);
    let (mut records, mut bytes) = (Vec::new(), Vec::new());
    let mut time = 3_600_000_000_000_u64;
    for packet in 0..packets {
        time += 200 + random.below(3_000);
        let connection = random.below(8);
        let skb = 0xffff_8881_0420_0000 + 256 * random.below(512);
        let head = 0xffff_8881_0b40_0000 + 2048 * random.below(512);
        let sk = 0xffff_8881_1234_0000 + 2432 * connection;
        let len = if random.below(3) == 0 { 52 } else { 1500 };
        for half in 0..2_u64 {
            let start = bytes.len();
            let cpu = (connection % 4) as u16;
            let flags = if half == 0 { flags::PACKET } else { 0 };
            let packet_bytes = if half == 0 { PACKET_BYTES } else { 0 };
            let length = 56 + packet_bytes + 8 * STAMPS.len();
            bytes.extend([Kind::Segment as u8, flags]);
            bytes.extend((length as u16).to_ne_bytes());
            bytes.extend(cpu.to_ne_bytes());
            bytes.extend(0x0800_u16.to_ne_bytes());
            for word in [skb, time + half * 9_000, head, half * sk] {
                bytes.extend(word.to_ne_bytes());
            }
            for word in [len, 0xf000_0123, 2, 0_u32] {
                bytes.extend(word.to_ne_bytes());
            }
            if half == 0 {
                packet_head(&mut bytes, &mut random, packet, connection, len);
            }
            let mut at = 0;
            for hook in STAMPS {
                bytes.extend((at as u32).to_ne_bytes());
                bytes.extend([hook as u8, 0, 0, 0]);
                at += 40 + random.below(200);
            }
            records.push(start..bytes.len());
        }
    }
    (records, bytes.len(), bytes)
}

/// IPv4 and TCP with its timestamps, 64 bytes in all.
fn packet_head(bytes: &mut Vec<u8>, random: &mut Random, packet: u64, connection: u64, len: u32) {
    let start = bytes.len();
    bytes.extend([0x45, 0]);
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend((packet as u16).to_be_bytes());
    bytes.extend([0x40, 0, 64, 6]);
    bytes.extend((random.below(65_536) as u16).to_be_bytes());
    bytes.extend([192, 0, 2, 1, 198, 51, 100, connection as u8]);
    bytes.extend((40_000 + connection as u16).to_be_bytes());
    bytes.extend(443_u16.to_be_bytes());
    bytes.extend((packet as u32 * 1_448).to_be_bytes());
    bytes.extend(0x1234_5678_u32.to_be_bytes());
    bytes.extend([0x80, 0x10, 1, 0xf5]);
    bytes.extend((random.below(65_536) as u16).to_be_bytes());
    bytes.extend([0, 0, 1, 1, 8, 10]);
    bytes.extend((packet as u32 / 500).to_be_bytes());
    bytes.extend((packet as u32 / 700).to_be_bytes());
    bytes.resize(start + PACKET_BYTES, 0);
    // What follows the headers is encrypted.
    for byte in &mut bytes[start + 52..] {
        *byte = random.below(256) as u8;
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
