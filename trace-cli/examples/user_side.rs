//! What the user side costs, for docs/performance.md: segments a second through decode, assembler and latency table on
//! one core, and memory for each open journey, as open journeys grow.
//!
//! ```text
//! cargo run --release --example user_side [OPEN …]
//! ```
//!
//! A JSON line for each number of open journeys (a thousand to a million): made-up TCP packets, each received in one
//! segment (10 stamps, a packet each 3 µs) and read in another one (2 stamps), so many packets later.
//! `bytes_per_open_journey` is all the
//! memory that the assembler has when the most are open, records in the hold window and finished journeys that linger
//! included; `peak_bytes` the most it ever had, at the trace's end too, which is not in the time.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "../../tests/replay/stream.rs"]
mod stream;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use anyhow::Result;
use pktjourney::{
    aggregate::latency::Latency,
    decode::{Record, decode},
    journey::assembler::{Assembler, Limits},
};
use rustix::time::{ClockId, clock_gettime};
use stream::Stream;

/// Between packets.
const GAP_NS: u64 = 3_000;
/// Stream time between ticks, as live.
const TICK_NS: u64 = 10_000_000;
/// Packets read after the last open one was received.
const READ: u64 = 1_000_000;

/// Counts the bytes that are in use. There is one thread: additions need not be atomic.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn changed(by: isize) {
    let used = USED.load(Relaxed).wrapping_add_signed(by);
    USED.store(used, Relaxed);
    if used > PEAK.load(Relaxed) {
        PEAK.store(used, Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        changed(layout.size() as isize);
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        changed(-(layout.size() as isize));
        // SAFETY: the caller's promises are ours.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        changed(size as isize - layout.size() as isize);
        // SAFETY: the caller's promises are ours.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let mut open = std::env::args()
        .skip(1)
        .map(|text| text.parse())
        .collect::<Result<Vec<u64>, _>>()?;
    if open.is_empty() {
        open = vec![1_000, 10_000, 100_000, 1_000_000];
    }
    for open in open {
        let stream = Stream::queued(open + READ, GAP_NS, open);
        let before = USED.load(Relaxed);
        PEAK.store(before, Relaxed);
        let begun = cpu_time();
        let mut assembler = Assembler::new(Limits {
            open_journeys: open as usize * 2 + 200_000,
            ..Limits::default()
        });
        let mut latency = Latency::new();
        let (mut segments, mut journeys, mut most, mut used, mut due) = (0, 0, 0, 0, 0);
        for record in stream.records() {
            let record = decode(record)?;
            let Record::Segment(segment) = &record else {
                continue;
            };
            let now = segment.t0;
            segments += 1;
            assembler.push(record);
            if now >= due {
                due = now + TICK_NS;
                assembler.tick(now);
                while let Some(journey) = assembler.pop() {
                    journeys += 1;
                    latency.add(&journey);
                    assembler.give_back(journey);
                }
                // The most open journeys, and what they then cost.
                if assembler.open_journeys() > most {
                    most = assembler.open_journeys();
                    used = USED.load(Relaxed) - before;
                }
            }
        }
        let seconds = (cpu_time() - begun).as_secs_f64();
        assembler.finish(due);
        while let Some(journey) = assembler.pop() {
            journeys += 1;
            assembler.give_back(journey);
        }
        let peak = PEAK.load(Relaxed) - before;
        let rows = latency.rows().len();
        println!(
            "{{\"open\":{open},\"most_open\":{most},\"segments\":{segments},\"journeys\":{journeys},\
             \"rows\":{rows},\"cpu_seconds\":{seconds:.3},\"segments_per_second\":{:.0},\
             \"bytes_per_open_journey\":{:.0},\"peak_bytes\":{peak}}}",
            f64::from(segments) / seconds,
            used as f64 / most as f64,
        );
    }
    Ok(())
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
