//! Which `recv()` read which packet, and when, against our own clock, also where other packets are in the same queue; and that on one
//! CPU it mostly costs no record of its own.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    path::Path,
    thread,
};

use pktjourney::{
    decode::{Record, decode},
    kernel::clock::monotonic_ns,
    lab::{
        Addresses, LabError, Pair,
        traffic::{
            tcp::Service,
            udp::{self, Flow},
        },
    },
    source::{item::Item, recording::Reader},
};
use rustix::thread::{CpuSet, gettid, sched_getcpu, sched_setaffinity};

use crate::{
    trace::Journey,
    tracer::{Tracer, some},
};

/// Datagrams in a row before they are read.
const BURST: u64 = 16;
const WHAT: &str = "traffic of one thread";

/// A `recv()` by our own clock, ns.
struct Call {
    entered: u64,
    returned: u64,
}

fn timed(recv: impl FnOnce() -> std::io::Result<()>) -> Result<Call, LabError> {
    let entered = monotonic_ns();
    recv().map_err(LabError::io(WHAT))?;
    Ok(Call {
        entered,
        returned: monotonic_ns(),
    })
}

/// Sends and reads in turn, on the CPU where it is: the thread's id, and its calls for datagrams and for requests.
fn talk(flow: &Flow, service: &Service<'_>) -> Result<(u32, Vec<Call>, Vec<Call>), LabError> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    sched_setaffinity(None, &one).expect("a CPU that we are on");
    let thread = gettid().as_raw_nonzero().get().cast_unsigned();
    let (mut datagrams, mut requests) = (Vec::new(), Vec::new());
    let mut buffer = [0; 100];
    for _ in 0..some(50) {
        for _ in 0..BURST {
            flow.sender.send(&[7; 100]).map_err(LabError::io(WHAT))?;
        }
        for _ in 0..BURST {
            datagrams.push(timed(|| flow.receiver.recv(&mut buffer).map(|_| ()))?);
        }
    }
    let (mut client, mut server) = service.connect()?;
    for _ in 0..some(200) {
        client.write_all(&[7; 100]).map_err(LabError::io(WHAT))?;
        requests.push(timed(|| server.read_exact(&mut buffer))?);
    }
    Ok((thread, datagrams, requests))
}

/// The packets that these calls read, in their order: each ended while its own was under way.
fn assert_read_by(mut packets: Vec<&Journey>, calls: &[Call], summary: &str) {
    packets.sort_by_key(|journey| journey.start_ns);
    assert_eq!(packets.len(), calls.len(), "{summary}");
    for (journey, call) in packets.into_iter().zip(calls) {
        let end = journey.start_ns + journey.total_ns;
        assert!(
            (call.entered..=call.returned).contains(&end),
            "read from {} to {}, but ended {end}: {journey:?}",
            call.entered,
            call.returned
        );
    }
}

/// Records of a recording that tell of this thread's calls and of nothing else.
fn records_of_calls(file: &Path, thread: u32) -> usize {
    let mut reader = Reader::open(file).expect("a recording");
    let mut count = 0;
    while let Some(item) = reader.next().expect("a whole recording") {
        if let Item::Record(bytes) = item
            && let Ok(Record::Socket(call)) = decode(bytes)
        {
            count += usize::from(call.pid == thread);
        }
    }
    count
}

#[test]
fn each_packet_ends_in_the_call_that_read_it() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    for (source, to) in [pair.v4(), pair.v6()] {
        let flow = Flow::open(&pair.a, source, &pair.b, to)?;
        let service = Service::listen(&pair.a, &pair.b, to)?;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("calls.pjy");
        let tracer = Tracer::start(
            &[&pair.a, &pair.b],
            &["-w", file.to_str().expect("UTF-8"), &format!("host {to}")],
        );
        // a thread of its own: it stays where it is
        let (thread, datagrams, requests) = thread::scope(|scope| {
            let talking = scope.spawn(|| talk(&flow, &service));
            talking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let trace = tracer.finish();
        let summary = trace.summary();
        assert_read_by(trace.to(to, flow.port()?), &datagrams, &summary);
        let data = trace.to(to, service.address().port());
        let data = data
            .into_iter()
            .filter(|journey| journey.payload() > Some(0));
        assert_read_by(data.collect(), &requests, &summary);
        let calls = datagrams.len() + requests.len();
        let records = records_of_calls(&file, thread);
        // Some have one: where a segment is full and the next slot is none of theirs; on a slow machine, what was swept before it was read.
        assert!(
            records * 2 <= calls,
            "{records} records of {calls} calls that segments could tell of"
        );
    }
    Ok(())
}

/// Datagrams that were queued before the trace are read before those that were queued since: whose `recv()` is whose?
#[test]
fn what_stood_in_the_queue_before_is_not_taken_for_ours() -> Result<(), LabError> {
    const BEFORE: u64 = 5;
    let pair = Pair::new(Addresses::unique())?;
    for (source, to) in [pair.v4(), pair.v6()] {
        let flow = Flow::open(&pair.a, source, &pair.b, to)?;
        let send = || flow.sender.send(&[7; 100]).map_err(LabError::io(WHAT));
        for _ in 0..BEFORE {
            send()?;
        }
        let tracer = Tracer::start(&[&pair.a, &pair.b], &[&format!("host {to}")]);
        let (mut calls, mut buffer) = (Vec::new(), [0; 100]);
        for _ in 0..BURST {
            send()?;
            calls.push(timed(|| flow.receiver.recv(&mut buffer).map(|_| ()))?);
        }
        for _ in 0..BEFORE {
            calls.push(timed(|| flow.receiver.recv(&mut buffer).map(|_| ()))?);
        }
        let trace = tracer.finish();
        // of those from before, a kernel that shows the copy shows that alone
        let mut ours = trace.to(to, flow.port()?);
        ours.retain(|journey| journey.legs.len() == 2);
        assert_read_by(ours, &calls[BEFORE as usize..], &trace.summary());
    }
    Ok(())
}

/// Several flows to one socket, of which the sample follows some.
#[test]
fn what_others_sent_to_the_same_socket_is_not_taken_for_ours() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    for (source, to) in [pair.v4(), pair.v6()] {
        let first = Flow::open(&pair.a, source, &pair.b, to)?;
        let address = first.receiver.local_addr().map_err(LabError::io(WHAT))?;
        let mut senders = vec![first.sender];
        for _ in 1..BURST {
            let sender = udp::socket(&pair.a, source)?;
            sender.connect(address).map_err(LabError::io(WHAT))?;
            senders.push(sender);
        }
        let tracer = Tracer::start(
            &[&pair.a, &pair.b],
            &["--sample", "1/2", &format!("host {to}")],
        );
        let mut calls: BTreeMap<u16, Vec<Call>> = BTreeMap::new();
        let mut buffer = [0; 100];
        for round in 0..some(50) as usize {
            // sometimes the queue is emptied in between, sometimes not
            let mut waiting = Vec::new();
            for sender in &senders {
                sender.send(&[7; 100]).map_err(LabError::io(WHAT))?;
                let from = sender.local_addr().map_err(LabError::io(WHAT))?.port();
                waiting.push(from);
                if round % 2 == 0 || waiting.len() > round % 5 {
                    let call = timed(|| first.receiver.recv(&mut buffer).map(|_| ()))?;
                    calls.entry(waiting.remove(0)).or_default().push(call);
                }
            }
            for from in waiting {
                let call = timed(|| first.receiver.recv(&mut buffer).map(|_| ()))?;
                calls.entry(from).or_default().push(call);
            }
        }
        let trace = tracer.finish();
        let ours = trace.to(to, address.port());
        let mut followed: BTreeMap<u16, Vec<&Journey>> = BTreeMap::new();
        for journey in ours {
            let (from, _) = journey.ports().expect("ports");
            followed.entry(from).or_default().push(journey);
        }
        assert!(
            !followed.is_empty() && followed.len() < senders.len(),
            "{} of {} flows",
            followed.len(),
            senders.len()
        );
        for (from, packets) in followed {
            assert_read_by(packets, &calls[&from], &trace.summary());
        }
    }
    Ok(())
}
