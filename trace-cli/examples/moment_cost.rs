//! What the kernel's own counters cost a trace, for docs/performance.md:
//!
//! ```text
//! cargo run -p trace-cli --example moment_cost
//! ```
//!
//! Prints a line of JSON a round: the time to open them, to read them and to write them down, and how much that is.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::time::Instant;

use anyhow::Result;
use pktjourney::stack::meanwhile::Watch;

fn main() -> Result<()> {
    for _ in 0..5 {
        let begun = Instant::now();
        let mut watch = Watch::open(&[]);
        let opened = begun.elapsed();
        let moment = watch.read();
        let read = begun.elapsed();
        let text = serde_json::to_string(&moment)?;
        println!(
            "{{\"open_us\":{},\"read_us\":{},\"write_us\":{},\"bytes\":{},\"namespaces\":{}}}",
            opened.as_micros(),
            (read - opened).as_micros(),
            (begun.elapsed() - read).as_micros(),
            text.len(),
            moment.namespaces.len(),
        );
    }
    Ok(())
}
