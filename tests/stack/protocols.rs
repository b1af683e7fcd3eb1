//! `stack protocols` against `nstat`, and socket memory against `ss -s`, after traffic and losses of all kinds.

use std::time::Duration;

use pktjourney::lab::{
    Addresses, LabError, Pair, faults,
    traffic::{icmp, tcp::Service},
};
use serde_json::Value;

use crate::tool;

/// How often to try again while something moved.
const TRIES: usize = 10;

#[test]
fn every_counter_is_nstats() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    faults::closed_udp_port(&pair, false, 7)?;
    faults::closed_udp_port(&pair, true, 9)?;
    faults::closed_tcp_port(&pair, 3)?;
    let full = faults::full_socket(&pair, 200)?;
    icmp::ping(&pair.a, pair.v6().1, 3, 56)?;
    Service::listen(&pair.a, &pair.b, pair.v4().1)?.bulk(1 << 20)?;
    let nstat = || -> Value {
        let text = tool::run(&pair.b, "nstat", &["-a", "-s", "-z", "-j"]);
        serde_json::from_str(&text).expect("nstat -j")
    };
    for _ in 0..TRIES {
        let before = nstat();
        let ours = tool::stack(&pair.b)["protocols"].clone();
        if before != nstat() {
            continue;
        }
        let theirs = before["kernel"].as_object().expect("counters");
        assert!(theirs.len() > 200, "{}", theirs.len());
        for (name, value) in theirs {
            let own = ours["counters"].get(name).or(ours["gauges"].get(name));
            assert_eq!(own, Some(value), "{name}");
        }
        // And none that nstat does not have.
        for name in ours["counters"].as_object().expect("counters").keys() {
            assert!(theirs.contains_key(name), "{name}");
        }
        assert_eq!(ours["counters"]["UdpNoPorts"], 7);
        assert_eq!(ours["counters"]["Udp6NoPorts"], 9);
        assert_eq!(ours["counters"]["UdpRcvbufErrors"], full.dropped);
        return Ok(());
    }
    panic!("the counters never stood still");
}

/// `TCP: 9 (estab 2, closed 5, orphaned 0, timewait 1)` of `ss -s`.
fn number(summary: &str, word: &str) -> u64 {
    let line = summary
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .expect("a line of TCP");
    let rest = line.split_once(&format!("{word} ")).expect(word).1;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn socket_memory_is_what_ss_sums_up() -> Result<(), LabError> {
    let pair = Pair::new(Addresses::unique())?;
    let service = Service::listen(&pair.a, &pair.b, pair.v4().1)?;
    let open: Vec<_> = (0..3)
        .map(|_| service.connect())
        .collect::<Result<_, _>>()?;
    // The client closes first: the TIME-WAIT is its own.
    service.requests(2, 10, 10, Duration::from_millis(1))?;
    let mut seen = (0, 0);
    for _ in 0..TRIES {
        let summary = || tool::run(&pair.a, "ss", &["-s"]);
        let before = summary();
        let ours = tool::stack(&pair.a)["sockets"].clone();
        if before != summary() {
            continue;
        }
        let protocols = ours["protocols"].as_array().expect("protocols");
        let tcp = protocols
            .iter()
            .find(|one| one["name"] == "TCP")
            .expect("TCP");
        assert_eq!(tcp["time_wait"], number(&before, "timewait"));
        assert_eq!(tcp["orphans"], number(&before, "orphaned"));
        assert_eq!(tcp["in_use"], number(&before, "estab"), "{before}");
        let kernel = tool::run(&pair.a, "cat", &["/proc/thread-self/net/sockstat"]);
        let used = kernel
            .lines()
            .find_map(|line| line.strip_prefix("sockets: used "));
        assert_eq!(ours["used"].to_string(), used.expect("sockets: used"));
        let buffer = tool::run(&pair.a, "sysctl", &["-n", "net.ipv4.tcp_rmem"]);
        let own = &ours["tcp_receive_buffer"];
        let own = [&own["min_bytes"], &own["default_bytes"], &own["max_bytes"]];
        assert!(
            buffer.split_whitespace().eq(own.map(Value::to_string)),
            "{buffer}"
        );
        let somaxconn = tool::run(&pair.a, "sysctl", &["-n", "net.core.somaxconn"]);
        assert_eq!(
            ours["limits"]["core/somaxconn"].to_string(),
            somaxconn.trim()
        );
        seen = (open.len() as u64, number(&before, "estab"));
        break;
    }
    assert!(seen.0 == 3 && seen.1 == 3, "{seen:?}");
    Ok(())
}
