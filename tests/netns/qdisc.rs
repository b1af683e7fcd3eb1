//! A shaper at a known rate: the time in the qdisc is at least what the rate dictates.

use std::time::Duration;

use pktjourney::lab::{Addresses, LabError, Pair, traffic::udp::Flow};

use crate::tracer::Tracer;

#[test]
fn a_token_bucket_dictates_the_time_in_the_qdisc() -> Result<(), LabError> {
    const BITS_PER_SECOND: u64 = 1_000_000;
    const BURST: u64 = 2_000;
    const COUNT: u64 = 50;
    const PAYLOAD: usize = 1_000;
    // Ethernet, IPv4 and UDP headers.
    const ON_WIRE: u64 = PAYLOAD as u64 + 14 + 20 + 8;

    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let flow = Flow::open(&pair.a, source, &pair.b, to)?;
    pair.a.tc(&format!(
        "qdisc add dev a0 root tbf rate {BITS_PER_SECOND}bit burst {BURST} limit 200000"
    ))?;
    let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("udp and host {to}")]);
    assert_eq!(flow.send_unread(COUNT, PAYLOAD), COUNT);
    assert_eq!(flow.drain(Duration::from_secs(1))?, COUNT);
    let trace = tracer.finish();
    let mut journeys = trace.to(to, flow.port()?);
    assert_eq!(journeys.len() as u64, COUNT, "{}", trace.summary());
    journeys.sort_by_key(|journey| journey.start_ns);
    let mut first = None;
    let mut gaps = 0;
    // Where its beginning cannot be seen, it is in the gap that begins before.
    let shown = !trace.visible(&["qdisc"]).is_empty();
    let name = if shown { "qdisc" } else { "dev_queue" };
    for (number, journey) in (1..).zip(&journeys) {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
        let Some(stage) = journey.stages.iter().find(|stage| stage.stage == name) else {
            panic!("no {name}: {journey:?}\n{}", trace.summary());
        };
        gaps += u64::from(stage.state == "gap");
        let first = *first.get_or_insert(stage.start_ns);
        // What is gone by then was in the bucket or has come since; 1 % for the kernel's rounding of rates.
        let bits = (number * ON_WIRE).saturating_sub(BURST) * 8;
        let least = bits * 1_000_000_000 / BITS_PER_SECOND * 99 / 100;
        let gone = stage.start_ns + stage.ns - first;
        assert!(
            gone >= least,
            "packet {number} left after {gone} ns, not {least}: {journey:?}"
        );
        let waited = stage.start_ns - first;
        assert!(stage.ns + waited >= least, "packet {number}: {journey:?}");
    }
    // The shaper's timer lets packets go in whatever process it interrupts. A guarded host may run no tracing
    // program in some of them (docs/kernels.md): then the next stage's hook ends this one, and it is called a gap.
    let guarded = std::env::var_os("PKTJOURNEY_VM").is_none();
    let expected = match (shown, guarded) {
        (false, _) => COUNT..=COUNT,
        (true, true) => 0..=COUNT / 5,
        (true, false) => 0..=0,
    };
    assert!(expected.contains(&gaps), "{gaps} gaps");
    // It must not be late either: the whole train takes 0.4 s.
    let longest = journeys.iter().map(|journey| journey.ns(name)).max();
    assert!(longest > Some(300_000_000), "{longest:?}");
    Ok(())
}
