//! How small and how fast recordings are, for docs/recording.md:
//!
//! ```text
//! cargo run --release --example recording_speed [FILE]
//! ```
//!
//! With a recording's name, its items are recorded again; without, made-up ones: a million packets of a few TCP
//! connections, each received in one segment and read in another.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "../../tests/replay/stream.rs"]
mod stream;

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use pktjourney::source::{
    item::{Counters, Item},
    recording::{Reader, Writer},
};
use stream::Stream;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = folder.path().join("first");
    let stream = match std::env::args_os().nth(1) {
        Some(file) => load(Path::new(&file))?,
        None => Stream::new(1_000_000, 1_700),
    };
    let records: Vec<_> = stream.records().collect();
    let bytes: usize = records.iter().map(|record| record.len()).sum();
    let writing = Instant::now();
    let mut writer = Writer::create(&first, "{}")?;
    let mut now = 0;
    for (number, record) in records.iter().enumerate() {
        writer.write(&Item::Record(record))?;
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

/// Those of a file, all in memory.
fn load(path: &Path) -> Result<Stream> {
    let mut reader = Reader::open(path)?;
    let mut stream = Stream::default();
    while let Some(item) = reader.next().context("the file is used up to here")? {
        if let Item::Record(record) = item {
            stream.push(record);
        }
    }
    Ok(stream)
}
