//! A bounded UDP flood between two network namespaces of its own, for docs/performance.md:
//!
//! ```text
//! cargo run --release --example flood [SECONDS [BYTES]]
//! ```
//!
//! Prints packets sent and read, and the rate. Needs root. Start `pktjourney` beside it to see what it costs.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::time::{Duration, Instant};

use anyhow::Result;
use pktjourney::lab::{Addresses, Pair, traffic::udp::Flow};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    let begun = Instant::now();
    let (sent, read) = flow.flood(Duration::from_secs(seconds.min(20)), bytes)?;
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    println!("sent {sent}, read {read}, {rate:.0} packets a second");
    Ok(())
}
