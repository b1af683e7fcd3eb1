//! `stack connections` against `ss`, over sockets of every kind.

use std::{thread, time::Duration};

use pktjourney::lab::{LabError, Netns};
use serde_json::Value;

use crate::{
    sockets::{BACKLOG, FULL, LOSSY, SERVICE, Sockets},
    ss::{self, Line},
    tool,
};

/// Timers and the time since the last segment move by themselves; what is compared must stand still for this many tries.
const TRIES: usize = 10;

/// What `ss` says of a namespace, and what we say: taken while nothing moved.
fn both(netns: &Netns) -> (Vec<Line>, Value) {
    for _ in 0..TRIES {
        let before = ss::sockets(netns);
        let ours = tool::stack(netns);
        let after = ss::sockets(netns);
        if steady(&before) == steady(&after) {
            return (after, ours["connections"].clone());
        }
        thread::sleep(Duration::from_millis(200));
    }
    panic!("the sockets never stood still");
}

/// Without what moves by itself.
fn steady(lines: &[Line]) -> Vec<Line> {
    let mut lines = lines.to_vec();
    for line in &mut lines {
        for moving in ["lastsnd", "lastrcv", "lastack", "timer", "busy"] {
            line.words.remove(moving);
        }
    }
    lines
}

/// `ss` writes these states.
fn state(line: &Line) -> &str {
    match line.state.as_str() {
        "ESTAB" => "established",
        "UNCONN" if line.protocol == "udp" => "unconnected",
        "LISTEN" => "listen",
        "SYN-SENT" => "syn_sent",
        "SYN-RECV" => "syn_recv",
        "CLOSE-WAIT" => "close_wait",
        "FIN-WAIT-1" => "fin_wait1",
        "FIN-WAIT-2" => "fin_wait2",
        "LAST-ACK" => "last_ack",
        "TIME-WAIT" => "time_wait",
        "CLOSING" => "closing",
        other => panic!("an unknown state: {other}"),
    }
}

/// Address, interface and port as `ss` writes them.
fn local(socket: &Value) -> String {
    let address = socket["local"]["address"].as_str().unwrap();
    let interface = socket["interface"]["name"].as_str();
    let interface = interface.map(|name| format!("%{name}")).unwrap_or_default();
    let address = match address {
        "::" if socket["only_ipv6"] == false => "*".to_owned(),
        v6 if v6.contains(':') => format!("[{v6}]"),
        v4 => v4.to_owned(),
    };
    format!("{address}{interface}:{}", socket["local"]["port"])
}

/// The socket that a line of `ss` is about: by cookie.
fn find<'a>(ours: &'a Value, line: &Line) -> &'a Value {
    let cookie = u64::from_str_radix(&line.words["sk"], 16).expect("a cookie");
    let sockets = ours["sockets"].as_array().unwrap();
    let found = sockets.iter().find(|socket| socket["cookie"] == cookie);
    found.unwrap_or_else(|| panic!("we do not have {line:?}"))
}

fn compare(line: &Line, socket: &Value) {
    let say = |what: &str| format!("{what}: {line:?}\n{socket}");
    assert_eq!(socket["protocol"], line.protocol, "{}", say("protocol"));
    assert_eq!(socket["state"], state(line), "{}", say("state"));
    assert_eq!(local(socket), line.local, "{}", say("local"));
    if let Some(address) = socket["remote"]["address"].as_str() {
        let peer = match address.contains(':') {
            true => format!("[{address}]:{}", socket["remote"]["port"]),
            false => format!("{address}:{}", socket["remote"]["port"]),
        };
        assert_eq!(peer, line.peer, "{}", say("peer"));
    } else {
        assert!(line.peer.ends_with(":*"), "{}", say("peer"));
    }
    let queues = if line.state == "LISTEN" {
        [&socket["backlog"]["pending"], &socket["backlog"]["limit"]]
    } else {
        [
            &socket["queues"]["receive_bytes"],
            &socket["queues"]["send_bytes"],
        ]
    };
    assert_eq!(queues[0], line.receive, "{}", say("Recv-Q"));
    assert_eq!(queues[1], line.send, "{}", say("Send-Q"));
    let inode = line.number("ino").filter(|inode| *inode > 0.0);
    assert_eq!(socket["inode"].as_f64(), inode, "{}", say("inode"));
    let users: Vec<String> = socket["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|owner| {
            format!(
                "({},pid={},fd={})",
                owner["name"], owner["pid"], owner["fd"]
            )
        })
        .collect();
    let expected = line.words.get("users").cloned().unwrap_or_default();
    let mut theirs: Vec<&str> = expected
        .trim_matches(['(', ')'])
        .split("),(")
        .filter(|user| !user.is_empty())
        .collect();
    let mut users: Vec<&str> = users
        .iter()
        .map(|user| user.trim_matches(['(', ')']))
        .collect();
    theirs.sort_unstable();
    users.sort_unstable();
    assert_eq!(users, theirs, "{}", say("users"));
    timer(line, socket);
    memory(line, socket);
    internals(line, socket);
}

fn timer(line: &Line, socket: &Value) {
    let theirs = line.words.get("timer").map(|timer| {
        let kind = timer.trim_start_matches('(').split(',').next().unwrap();
        match kind {
            "on" => "retransmit",
            "keepalive" => "keepalive",
            "timewait" => "time_wait",
            "persist" => "window_probe",
            other => panic!("an unknown timer: {other}"),
        }
    });
    // A timer may end between two looks; those that last are compared.
    if theirs.is_none_or(|kind| kind == "time_wait" || kind == "keepalive") {
        assert_eq!(
            socket["timer"]["kind"].as_str(),
            theirs,
            "{line:?}\n{socket}"
        );
    }
}

/// `skmem:(r0,rb131072,t0,tb87040,f0,w0,o0,bl0,d0)`.
fn memory(line: &Line, socket: &Value) {
    let Some(theirs) = line.words.get("skmem") else {
        assert!(socket["memory"].is_null(), "{line:?}\n{socket}");
        return;
    };
    let fields = [
        ("r", "receive_bytes"),
        ("rb", "receive_limit_bytes"),
        ("t", "transmit_bytes"),
        ("tb", "send_limit_bytes"),
        ("f", "reserved_bytes"),
        ("w", "queued_bytes"),
        ("o", "options_bytes"),
        ("bl", "backlog_bytes"),
        ("d", "drops"),
    ];
    for (part, (short, long)) in theirs.trim_matches(['(', ')']).split(',').zip(fields) {
        let value: u32 = part.strip_prefix(short).unwrap().parse().unwrap();
        let ours = &socket["memory"][long];
        let same = if long == "reserved_bytes" {
            ours.as_i64() == Some(value.cast_signed().into())
        } else {
            ours.as_u64() == Some(value.into())
        };
        assert!(same, "{long}: {line:?}\n{socket}");
    }
}

/// Numbers of `tcp_info` by the name that `ss` gives them, with what ours must be multiplied by; what `ss` leaves out
/// because it is 0 is null or 0 in ours.
const INTERNALS: [(&str, &str, f64); 25] = [
    ("rto", "rto_us", 1e-3),
    ("ato", "ato_us", 1e-3),
    ("mss", "send_mss_bytes", 1.0),
    ("pmtu", "path_mtu_bytes", 1.0),
    ("rcvmss", "receive_mss_bytes", 1.0),
    ("advmss", "announced_mss_bytes", 1.0),
    ("cwnd", "cwnd_segments", 1.0),
    ("ssthresh", "ssthresh_segments", 1.0),
    ("bytes_sent", "sent_bytes", 1.0),
    ("bytes_retrans", "retransmitted_bytes", 1.0),
    ("bytes_acked", "acked_bytes", 1.0),
    ("bytes_received", "received_bytes", 1.0),
    ("segs_out", "sent_segments", 1.0),
    ("segs_in", "received_segments", 1.0),
    ("data_segs_out", "sent_data_segments", 1.0),
    ("data_segs_in", "received_data_segments", 1.0),
    ("pacing_rate", "pacing_rate_bytes_per_s", 8.0),
    ("delivery_rate", "delivery_rate_bytes_per_s", 8.0),
    ("delivered", "delivered_segments", 1.0),
    ("unacked", "unacked_segments", 1.0),
    ("lost", "lost_segments", 1.0),
    ("rcv_space", "receive_space_bytes", 1.0),
    ("rcv_ssthresh", "receive_ssthresh_bytes", 1.0),
    ("minrtt", "min_rtt_us", 1e-3),
    ("snd_wnd", "send_window_bytes", 1.0),
];

fn internals(line: &Line, socket: &Value) {
    if line.protocol != "tcp" || matches!(line.state.as_str(), "LISTEN" | "TIME-WAIT" | "SYN-RECV")
    {
        assert!(socket["tcp"].is_null(), "{line:?}\n{socket}");
        return;
    }
    let tcp = &socket["tcp"];
    if tcp.is_null() {
        // A FIN-WAIT-2 without a process: only its shell is left.
        assert!(!line.words.contains_key("cwnd"), "{line:?}\n{socket}");
        return;
    }
    for (theirs, ours, factor) in INTERNALS {
        let value = tcp[ours].as_f64().map(|value| value * factor);
        match line.number(theirs) {
            // `ss` prints six digits.
            Some(number) => assert!(
                value.is_some_and(|value| (value - number).abs() <= number * 1e-5),
                "{ours}: {line:?}\n{socket}"
            ),
            None => assert!(
                value.is_none_or(|value| value == 0.0),
                "{ours}: {line:?}\n{socket}"
            ),
        }
    }
    if let Some(rtt) = line.words.get("rtt") {
        let (rtt, deviation) = rtt.split_once('/').unwrap();
        for (text, ours) in [(rtt, "rtt_us"), (deviation, "rttvar_us")] {
            let theirs: f64 = text.parse().unwrap();
            let value = tcp[ours].as_f64().unwrap() / 1000.0;
            assert!(
                (value - theirs).abs() <= theirs * 1e-5,
                "{ours}: {line:?}\n{socket}"
            );
        }
    }
    // `retrans:now/ever`.
    let again = line.words.get("retrans").map_or("0/0", String::as_str);
    let ours = format!("{}/{}", tcp["retransmitted_segments"], tcp["retransmits"]);
    assert_eq!(ours, again, "{line:?}\n{socket}");
    let congestion = socket["congestion"].as_str().unwrap();
    assert!(
        line.words.contains_key(congestion),
        "{congestion}: {line:?}"
    );
}

fn by_state(ours: &Value, protocol: &str, wanted: &str) -> Vec<Value> {
    let sockets = ours["sockets"].as_array().unwrap().iter();
    sockets
        .filter(|socket| socket["protocol"] == protocol && socket["state"] == wanted)
        .cloned()
        .collect()
}

#[test]
fn every_socket_is_as_ss_says() -> Result<(), LabError> {
    let sockets = Sockets::make()?;
    for netns in [&sockets.pair.a, &sockets.pair.b] {
        let (theirs, ours) = both(netns);
        let listed = ours["sockets"].as_array().unwrap();
        let comparable =
            |socket: &&Value| matches!(socket["protocol"].as_str(), Some("tcp" | "udp"));
        assert_eq!(listed.iter().filter(comparable).count(), theirs.len());
        for line in &theirs {
            compare(line, find(&ours, line));
        }
        // Guests have no modules but those of their cards: mptcp_diag is one.
        let missing = ours["missing"].as_array().unwrap().iter();
        let unexpected: Vec<_> = missing
            .filter(|one| !one["what"].as_str().unwrap().starts_with("mptcp"))
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
        summary(netns, &ours);
    }
    let (_, server) = both(&sockets.pair.a);
    let full = by_state(&server, "tcp", "listen");
    let full = full
        .iter()
        .find(|socket| socket["local"]["port"] == FULL)
        .unwrap();
    assert_eq!(full["backlog"]["limit"], BACKLOG);
    assert_eq!(full["backlog"]["pending"], BACKLOG + 1);
    assert!(full["backlog"]["dropped"].as_u64().unwrap() >= 4, "{full}");
    assert_eq!(server["summary"]["full_listeners"], 1);
    assert_eq!(by_state(&server, "tcp", "close_wait").len(), 1);
    let small = by_state(&server, "udp", "unconnected");
    let small = small
        .iter()
        .find(|socket| socket["local"]["port"] == 9001)
        .unwrap();
    assert!(small["memory"]["drops"].as_u64().unwrap() > 0, "{small}");
    let (_, client) = both(&sockets.pair.b);
    assert_eq!(by_state(&client, "tcp", "time_wait").len(), 1);
    assert_eq!(by_state(&client, "tcp", "fin_wait2").len(), 1);
    let lossy = by_state(&client, "tcp", "established");
    let lossy = lossy
        .iter()
        .find(|socket| socket["remote"]["port"] == LOSSY)
        .unwrap();
    assert!(lossy["tcp"]["retransmits"].as_u64().unwrap() > 0, "{lossy}");
    let text = tool::text(&sockets.pair.a, "connections");
    for words in [
        &format!(":{FULL} ")[..],
        &format!(":{SERVICE} "),
        "close_wait",
        "dropped for want of room",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    Ok(())
}

/// Against `ss -s`, which counts what is in the kernel's tables.
fn summary(netns: &Netns, ours: &Value) {
    let theirs = ss::summary(netns);
    let summary = &ours["summary"];
    for (name, field) in [("estab", "tcp_connected"), ("timewait", "tcp_time_wait")] {
        assert_eq!(
            summary[field], theirs[name],
            "{name}: {theirs:?}\n{summary}"
        );
    }
    // Orphans are counted for all namespaces together, and the tests next door make some.
    let orphans = || {
        let ours = tool::stack(netns)["connections"]["summary"]["tcp_orphaned"].clone();
        (ours, ss::summary(netns)["orphaned"])
    };
    let mut tries = std::iter::repeat_with(orphans).take(20);
    assert!(tries.any(|(ours, theirs)| ours == theirs), "{theirs:?}");
    for (protocol, family, name) in [
        ("tcp", "ipv4", "TCP.IP"),
        ("tcp", "ipv6", "TCP.IPv6"),
        ("udp", "ipv4", "UDP.IP"),
        ("udp", "ipv6", "UDP.IPv6"),
    ] {
        let counts = summary["counts"].as_array().unwrap().iter();
        let count: u64 = counts
            .filter(|count| count["protocol"] == protocol && count["family"] == family)
            // These have no socket of their own in that table.
            .filter(|count| !matches!(count["state"].as_str(), Some("time_wait" | "syn_recv")))
            .map(|count| count["sockets"].as_u64().unwrap())
            .sum();
        assert_eq!(count, theirs[name], "{name}: {theirs:?}\n{summary}");
    }
}

/// MPTCP's connections are listed apart from the TCP subflows that they are made of.
#[test]
#[expect(clippy::print_stderr, reason = "says that a test was left out")]
fn mptcp_is_as_ss_says() -> Result<(), LabError> {
    use rustix::net::{
        AddressFamily, Protocol, SocketType, bind, connect, getsockname, listen, socket,
    };
    use std::net::{Ipv4Addr, SocketAddr};

    let mptcp = Protocol::from_raw(std::num::NonZeroU32::new(262).expect("a number"));
    let netns = Netns::new("mptcp")?;
    tool::run(&netns, "ip", &["link", "set", "lo", "up"]);
    let made = netns.enter(|| {
        let open = || socket(AddressFamily::INET, SocketType::STREAM, Some(mptcp));
        let made = (|| {
            let (listener, client) = (open()?, open()?);
            bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            listen(&listener, 5)?;
            let address = SocketAddr::try_from(getsockname(&listener)?)?;
            connect(&client, &address)?;
            Ok::<_, rustix::io::Errno>((listener, client, address))
        })();
        Ok(made)
    })?;
    let (_listener, _client, address) = match made {
        Ok(made) => made,
        Err(error) => {
            eprintln!("skipped: no MPTCP: {error}");
            return Ok(());
        }
    };
    let theirs = tool::run(&netns, "ss", &["-M", "-a", "-n", "-H"]);
    let ours = tool::stack(&netns)["connections"].clone();
    if let Some(missing) = ours["missing"].as_array().filter(|all| !all.is_empty()) {
        eprintln!("skipped: {missing:?}");
        return Ok(());
    }
    let all = ours["sockets"].as_array().expect("sockets").iter();
    let all: Vec<_> = all.filter(|one| one["protocol"] == "mptcp").collect();
    assert_eq!(all.len(), theirs.lines().count(), "{theirs}{all:?}");
    let is_at = |one: &&&Value, end: &str| one[end]["port"] == address.port();
    let client = all
        .iter()
        .find(|one| is_at(one, "remote"))
        .expect("the client");
    assert_eq!(client["state"], "established");
    assert_eq!(client["processes"][0]["pid"], std::process::id());
    assert!(
        theirs.contains(&format!("127.0.0.1:{}", address.port())),
        "{theirs}"
    );
    Ok(())
}
