//! TCP: who waited in the socket is said to have waited there, to the byte.

use std::time::Duration;

use pktjourney::lab::{Addresses, LabError, Pair, traffic::tcp::Service};

use crate::{
    trace::Journey,
    tracer::{Tracer, patience},
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
    let slow = service.requests(200, 100, 200, delay)?;
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
    assert_eq!(requests.len(), 200, "{}", trace.summary());
    for journey in &requests {
        assert_eq!(
            journey.outcome,
            "delivered",
            "{journey:?}\n{}",
            trace.summary()
        );
        assert!(waits(journey), "socket_queue is too short: {journey:?}");
    }
    let answers = others
        .iter()
        .filter(|journey| journey.payload() == Some(ANSWER));
    for journey in answers.clone() {
        assert_eq!(journey.outcome, "delivered", "{journey:?}");
    }
    assert_eq!(answers.count(), 200, "{}", trace.summary());
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
        let delivered: u64 = trace
            .to(to, service.address().port())
            .iter()
            .filter(|journey| journey.outcome == "delivered")
            .filter_map(|journey| journey.payload())
            .sum();
        assert_eq!(delivered, BYTES, "{}", trace.summary());
    }
    Ok(())
}
