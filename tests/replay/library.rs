//! Through the library, with a made-up stream.

use std::{fs, path::Path};

use pktjourney::{
    decode::{Record, decode},
    journey::{
        assembler::{Assembler, Limits},
        ledger::KernelCounters,
    },
    source::{
        item::{Counters, Item},
        recording::{ReadError, Reader, Writer},
    },
};

use crate::stream::Stream;

const PACKETS: u64 = 3_000;
const RECORDS_A_TICK: usize = 100;
/// So that it takes a few seconds, and a few blocks.
const GAP_NS: u64 = 4_000_000;

/// What a live run would have handed on.
fn items(stream: &Stream) -> Vec<Item<'_>> {
    let mut items = vec![Item::Names(r#"{"symbols":[]}"#)];
    let mut now = 0;
    let mut counters = Counters::default();
    for (number, record) in stream.records().enumerate() {
        items.push(Item::Record(record));
        counters[0] += 1;
        let Ok(Record::Segment(segment)) = decode(record) else {
            panic!("not a segment")
        };
        now = segment.t0.max(now);
        if number % RECORDS_A_TICK == RECORDS_A_TICK - 1 {
            items.push(Item::Tick { now, counters });
        }
    }
    items.push(Item::End { now, counters });
    items
}

/// A pipeline that prints all there is.
struct Printer {
    assembler: Assembler,
    text: String,
}

impl Printer {
    fn new() -> Self {
        Self {
            assembler: Assembler::new(Limits::default()),
            text: String::new(),
        }
    }

    fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Record(bytes) => self.assembler.push(decode(bytes).unwrap()),
            Item::Names(json) | Item::Moment(json) => self.text += &format!("{json}\n"),
            Item::Tick { now, counters } => {
                self.assembler.set_counters(KernelCounters(counters));
                self.assembler.tick(now);
            }
            Item::End { now, counters } => {
                self.assembler.set_counters(KernelCounters(counters));
                self.assembler.finish(now);
            }
        }
        while let Some(journey) = self.assembler.pop() {
            self.text += &format!("{journey:?}\n");
        }
        if matches!(item, Item::End { .. }) {
            self.text += &format!("{:?}\n", self.assembler.ledger());
        }
    }
}

fn print<'a>(items: impl IntoIterator<Item = Item<'a>>) -> String {
    let mut printer = Printer::new();
    items.into_iter().for_each(|item| printer.take(item));
    printer.text
}

fn record(path: &Path, items: &[Item<'_>]) {
    let mut writer = Writer::create(path, "{}").unwrap();
    for item in items {
        writer.write(item).unwrap();
    }
    writer.finish().unwrap();
}

fn replay(path: &Path) -> (String, Result<(), ReadError>) {
    let mut printer = Printer::new();
    let mut reader = Reader::open(path).unwrap();
    loop {
        match reader.next() {
            Ok(Some(item)) => printer.take(item),
            Ok(None) => return (printer.text, Ok(())),
            Err(error) => return (printer.text, Err(error)),
        }
    }
}

#[test]
fn what_is_replayed_is_what_was_live() {
    let stream = Stream::new(PACKETS, GAP_NS);
    let items = items(&stream);
    let live = print(items.iter().copied());
    assert_eq!(
        live.lines().count(),
        PACKETS as usize + 2,
        "names, journeys, ledger"
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    record(&path, &items);
    let (replayed, result) = replay(&path);
    result.unwrap();
    assert!(replayed == live, "the output differs");
}

#[test]
fn a_cut_recording_gives_the_beginning_of_the_same() {
    let stream = Stream::new(PACKETS, GAP_NS);
    let items = items(&stream);
    let live = print(items.iter().copied());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    record(&path, &items);
    let bytes = fs::read(&path).unwrap();
    let cut = folder.path().join("cut");
    let mut longest = 0;
    for tenth in 1..10 {
        fs::write(&cut, &bytes[..bytes.len() * tenth / 10]).unwrap();
        let (replayed, result) = replay(&cut);
        assert!(matches!(result, Err(ReadError::Truncated { .. })));
        assert!(live.starts_with(&replayed), "the output differs");
        assert!(replayed.len() >= longest);
        longest = replayed.len();
    }
    assert!(longest > live.len() / 2, "{longest} of {}", live.len());
}
