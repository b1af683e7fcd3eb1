//! TCP: who waited in the socket is said to have waited there, to the byte.

use std::time::Duration;

use pktjourney::lab::{Addresses, LabError, Pair, traffic::tcp::Service};

use crate::{
    trace::Journey,
    tracer::{Tracer, patience, some},
};

const REQUEST: u64 = 100;
const ANSWER: u64 = 200;

#[test]
fn a_slow_reader_shows_as_socket_wait_of_its_packets_and_of_no_others() -> Result<(), LabError> {
    // On an emulated machine 20 ms are nothing special.
    let delay =
        Duration::from_millis(20) * u32::try_from(patience(1).as_secs().min(5)).unwrap_or(1);
    let pair = Pair::new(Addresses::unique())?;
    let (_, to) = pair.v4();
    let service = Service::listen(&pair.a, &pair.b, to)?;
    let port = service.address().port();
    let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("tcp and host {to}")]);
    let count = usize::try_from(some(200)).expect("a small number");
    let slow = service.requests(count, 100, 200, delay)?;
    let trace = tracer.finish();
    assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());

    let waits = |journey: &&Journey| u128::from(journey.ns("socket_queue")) >= delay.as_nanos();
    let (requests, others): (Vec<&Journey>, Vec<&Journey>) = trace
        .journeys
        .iter()
        .filter(|journey| {
            journey
                .ports()
                .is_some_and(|(from, to)| from == port || to == port)
        })
        .partition(|journey| journey.is_to(to, port) && journey.payload() == Some(REQUEST));
    assert_eq!(requests.len(), count, "{}", trace.summary());
    for journey in &requests {
        assert_eq!(
            journey.outcome,
            "delivered",
            "{journey:?}\n{}",
            trace.summary()
        );
        // The reader's sleep begins when send() returns, and a softirq that was put off brings the packet later.
        let receiving = || journey.stages.iter().filter(|stage| stage.leg == 1);
        let total: u64 = receiving().map(|stage| stage.ns).sum();
        assert!(
            u128::from(total) >= delay.as_nanos(),
            "read too early: {journey:?}"
        );
        let longest = receiving().max_by_key(|stage| stage.ns);
        assert!(
            longest.is_some_and(|stage| stage.stage == "socket_queue"),
            "it waited elsewhere: {journey:?}"
        );
    }
    let answers = others
        .iter()
        .filter(|journey| journey.payload() == Some(ANSWER));
    for journey in answers.clone() {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
    }
    assert_eq!(answers.count(), count, "{}", trace.summary());
    // An answer that the machine itself held up for so long is no fault of the tool's.
    let waiting: Vec<&&Journey> = others.iter().filter(|journey| waits(journey)).collect();
    assert!(
        waiting.len() <= slow,
        "{slow} answers were slow, but {waiting:?}"
    );
    Ok(())
}

#[test]
fn bulk_data_is_delivered_whole() -> Result<(), LabError> {
    const BYTES: u64 = 4 << 20;
    let pair = Pair::new(Addresses::unique())?;
    for (_, to) in [pair.v4(), pair.v6()] {
        let service = Service::listen(&pair.a, &pair.b, to)?;
        let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("tcp and host {to}")]);
        service.bulk(BYTES)?;
        let trace = tracer.finish();
        assert_eq!(trace.ledger("lost"), 0, "{}", trace.summary());
        let data: Vec<&Journey> = trace
            .to(to, service.address().port())
            .into_iter()
            .filter(|journey| journey.payload() > Some(0))
            .collect();
        // What a nervous sender repeated was there already, and is dropped as such: all bytes came another way, see below.
        let repeated = |journey: &Journey| {
            let drop = journey.drop.as_ref();
            drop.is_some_and(|drop| drop.stage == "transport" && drop.reason.starts_with("TCP_"))
                || journey.repeated_unseen()
        };
        let (delivered, not): (Vec<&Journey>, Vec<&Journey>) = data
            .into_iter()
            .partition(|journey| journey.outcome == "delivered");
        let not: Vec<&Journey> = not
            .into_iter()
            .filter(|journey| !repeated(journey))
            .collect();
        assert!(
            not.is_empty(),
            "not delivered: {not:?}\n{}",
            trace.summary()
        );
        assert_eq!(
            covered(&delivered),
            (BYTES, Vec::new()),
            "{}",
            trace.summary()
        );
    }
    Ok(())
}

/// Bytes of the sequence space that these segments cover, and where there is a hole.
fn covered(segments: &[&Journey]) -> (u64, Vec<u32>) {
    let flows = segments.iter().filter_map(|journey| journey.flow.as_ref());
    let mut ranges: Vec<(u32, u32)> = flows
        .filter_map(|flow| Some((flow.seq?, u32::try_from(flow.payload?).ok()?)))
        .collect();
    // The sequence space may wrap: measured from well before any of them.
    let origin = ranges
        .first()
        .map_or(0, |range| range.0)
        .wrapping_sub(1 << 24);
    ranges.sort_by_key(|range| range.0.wrapping_sub(origin));
    let (mut end, mut sum, mut holes) = (0, 0, Vec::new());
    for (seq, payload) in ranges {
        let begin = u64::from(seq.wrapping_sub(origin));
        if begin > end && end > 0 {
            holes.push(seq);
        }
        let to = begin + u64::from(payload);
        sum += to.saturating_sub(begin.max(end));
        end = end.max(to);
    }
    (sum, holes)
}
