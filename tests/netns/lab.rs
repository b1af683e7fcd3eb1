//! The laboratory itself: what it sends is what the kernel counts, and nothing stays behind.

use std::time::Duration;

use pktjourney::lab::{
    Addresses, LabError, Pair, Router,
    counters::{self, Counters},
    faults::{self, Fault},
    netns,
    traffic::{http, icmp, raw::Transport, tcp::Service, udp::Flow},
};

type Result = std::result::Result<(), LabError>;

#[test]
fn udp_is_all_delivered() -> Result {
    let pair = Pair::new(Addresses::unique())?;
    for (source, to) in [pair.v4(), pair.v6()] {
        let before = Counters::read(&pair.b)?;
        Flow::open(&pair.a, source, &pair.b, to)?.deliver(1_000, 100)?;
        let counter = if to.is_ipv4() {
            "UdpInDatagrams"
        } else {
            "Udp6InDatagrams"
        };
        assert_eq!(Counters::read(&pair.b)?.since(&before, counter), 1_000);
    }
    Ok(())
}

#[test]
fn tcp_http_and_ping_work_through_the_router() -> Result {
    let lab = Router::new(Addresses::unique())?;
    for (_, to) in [lab.v4(), lab.v6()] {
        let service = Service::listen(&lab.a, &lab.b, to)?;
        service.requests(3, 100, 200, Duration::from_millis(1))?;
        service.bulk(1 << 20)?;
        http::get(&service, 3, 1000)?;
        icmp::ping(&lab.a, to, 3, 56)?;
    }
    let (received, sent) = counters::device(&lab.router, "rb")?;
    assert!(received > 20 && sent > 20, "{received} {sent}");
    Ok(())
}

#[test]
fn a_flood_ends() -> Result {
    let pair = Pair::new(Addresses::unique())?;
    let (source, to) = pair.v4();
    let (sent, read) =
        Flow::open(&pair.a, source, &pair.b, to)?.flood(Duration::from_millis(100), 64)?;
    assert!(sent >= read && read > 0, "{sent} {read}");
    Ok(())
}

#[test]
fn faults_are_what_the_kernel_counts() -> Result {
    type Make = fn(&Pair, &Router) -> std::result::Result<Fault, LabError>;
    let faults: &[(&str, Make)] = &[
        ("closed udp port", |pair, _| {
            faults::closed_udp_port(pair, false, 20)
        }),
        ("closed udp port, IPv6", |pair, _| {
            faults::closed_udp_port(pair, true, 20)
        }),
        ("closed tcp port", |pair, _| {
            faults::closed_tcp_port(pair, 20)
        }),
        ("nft prerouting", |pair, _| {
            faults::nft(pair, "prerouting", 20)
        }),
        ("nft input", |pair, _| faults::nft(pair, "input", 20)),
        ("nft output", |pair, _| faults::nft(pair, "output", 20)),
        ("nft postrouting", |pair, _| {
            faults::nft(pair, "postrouting", 20)
        }),
        ("nft forward", |_, router| faults::nft_forward(router, 20)),
        ("no route", |_, router| faults::no_route(router, false, 20)),
        ("no route, IPv6", |_, router| {
            faults::no_route(router, true, 20)
        }),
        ("time to live", |_, router| {
            faults::ttl_exceeded(router, false, 20)
        }),
        ("hop limit", |_, router| {
            faults::ttl_exceeded(router, true, 20)
        }),
        ("too big", |_, router| faults::too_big(router, false, 20)),
        ("too big, IPv6", |_, router| {
            faults::too_big(router, true, 20)
        }),
        ("udp checksum", |pair, _| {
            faults::bad_checksum(pair, Transport::Udp, false, 20)
        }),
        ("udp checksum, IPv6", |pair, _| {
            faults::bad_checksum(pair, Transport::Udp, true, 20)
        }),
        ("tcp checksum", |pair, _| {
            faults::bad_checksum(pair, Transport::TcpSyn, false, 20)
        }),
        ("tcp checksum, IPv6", |pair, _| {
            faults::bad_checksum(pair, Transport::TcpSyn, true, 20)
        }),
        ("reverse path", |pair, _| faults::reverse_path(pair, 20)),
        ("martian", |pair, _| faults::martian(pair, 20)),
        ("full socket", |pair, _| faults::full_socket(pair, 40)),
        ("full qdisc", |pair, _| faults::full_qdisc(pair, 40)),
        ("no neighbour", |pair, _| faults::no_neighbour(pair, 40)),
    ];
    let (pair, router) = (
        Pair::new(Addresses::unique())?,
        Router::new(Addresses::unique())?,
    );
    for (name, make) in faults {
        let fault = make(&pair, &router).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(fault.dropped >= 20, "{name}: {fault:?}");
        if let Some(counted) = fault.counted {
            assert_eq!(counted, fault.dropped, "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_namespace_goes_with_its_guard_even_in_a_panic() -> Result {
    let pair = Pair::new(Addresses::unique())?;
    let paths = [pair.a.path(), pair.b.path()];
    assert!(paths.iter().all(|path| path.exists()));
    let panicked = std::thread::spawn(move || {
        let _kept = pair;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panicked.join().is_err());
    assert!(!paths.iter().any(|path| path.exists()));
    assert!(netns::left_behind().is_empty());
    Ok(())
}
