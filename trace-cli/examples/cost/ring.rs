//! What the kernel side sends: records and bytes a packet, from a recording of the load.

use std::collections::BTreeMap;

use anyhow::Result;
use pktjourney::{
    lab::Pair,
    source::{item::Item, recording::Reader},
};
use serde_json::{Value, json};

use crate::{
    tool::{Tool, Under},
    traffic::{Line, Load},
};

/// A ring's own header before each record, bytes.
const HEADER: usize = 8;

/// Runs the load under the tool, which gets `-w FILE`, and counts. The packets that set up the connection are in both counts.
pub fn measure(tool: &Tool, pair: &Pair, load: &Load) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ring.pjy");
    let mut tool = tool.clone();
    tool.command.push("-w".to_owned());
    tool.command.push(file.to_string_lossy().into_owned());
    let under = Under::start(&tool, pair)?;
    let line = Line::open(pair, load)?;
    let packets = line.run(load.count)?.packets;
    drop(line);
    under.stop()?;
    let mut reader = Reader::open(&file)?;
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut lost = 0;
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => {
                let name = match record.first() {
                    Some(1) => "segment",
                    Some(2) => "drop",
                    Some(3) => "socket",
                    Some(4) => "poll",
                    _ => "name",
                };
                let sum = kinds.entry(name).or_default();
                sum.0 += 1;
                sum.1 += (record.len().next_multiple_of(8) + HEADER) as u64;
            }
            Item::End { counters, .. } => {
                lost = counters[trace_ebpf::Counter::SegmentsLost as usize]
                    + counters[trace_ebpf::Counter::RecordsLost as usize];
            }
            Item::Tick { .. } | Item::Names(_) | Item::Moment(_) => {}
        }
    }
    let records: u64 = kinds.values().map(|kind| kind.0).sum();
    let bytes: u64 = kinds.values().map(|kind| kind.1).sum();
    let each = |sum: u64| sum as f64 / packets as f64;
    Ok(json!({
        "tool": tool.name, "load": load.name, "packets": packets, "records_per_packet": each(records),
        "bytes_per_packet": each(bytes), "lost": lost,
        "kinds": kinds.iter().map(|(name, kind)| ((*name).to_owned(), json!({"records": each(kind.0), "bytes": each(kind.1)})))
            .collect::<serde_json::Map<_, _>>(),
    }))
}
