//! What people see, word for word.

use std::time::Duration;

use super::*;
use crate::aggregate::{drops::Drops, latency::Latency};
use crate::journey::model::{Direction, Ledger, Losses, Outcome, Unfinished};
use crate::session::Sample;
use crate::sink::sample;

const PLAIN: Look = Look {
    color: false,
    width: 100,
    stacks: true,
};

/// Results and messages.
fn shown(
    look: Look,
    write: impl FnOnce(&mut Text<Vec<u8>, Vec<u8>>) -> io::Result<()>,
) -> (String, String) {
    let mut text = Text::new(Vec::new(), Vec::new(), look);
    write(&mut text).expect("vectors take everything");
    let string = |bytes| String::from_utf8(bytes).expect("text is UTF-8");
    (string(text.out), string(text.messages))
}

fn journey(journey: &Journey, look: Look) -> String {
    shown(look, |text| text.journey(journey, &sample::names())).0
}

/// What one call writes is what is written here, behind a line break.
fn assert_shows(shown: &str, expected: &str) {
    let expected = expected
        .strip_prefix('\n')
        .expect("begins with a line break");
    assert!(shown == expected, "\n{shown}\nis not\n{expected}");
}

#[test]
fn a_packet_over_two_legs() {
    assert_shows(
        &journey(&sample::delivered(), PLAIN),
        r"
#1  08:00:05.123456789Z  loop  delivered  10.0.0.1:1234 → 10.0.0.2:80 tcp [P.] 152 B  20.4 ms
  curl[40] → nginx[50]
  client  → veth0  sent
    send              +0 ns   800 ns  cpu 0  ▏
    ip_output       +800 ns   450 ns  cpu 0  ▏
    output         +1.25 µs  1.23 µs  cpu 0  ▏
    driver         +2.48 µs   640 ns  cpu 0  ▏
  server  veth1 →  delivered
    irq none → softirq → poll of 12/64 on cpu 1, backlog, 45.6 µs
    napi_schedule  +3.12 µs  2.10 µs  cpu 1  ▏
    receive        +5.22 µs  ≤380 ns  cpu 1  ░
    transport      +5.60 µs  4.00 µs  cpu 1  ▏
    socket_queue   +9.60 µs  20.4 ms  cpu 1  ██████████████████████████████████████████████████████▉
    recv           +20.4 ms  1.50 µs  cpu 1                                                        ▏

",
    );
}

#[test]
fn a_dropped_packet() {
    assert_shows(
        &journey(&sample::dropped(), PLAIN),
        r"
#2  08:00:05.123456789Z  receive  dropped NO_SOCKET  10.0.0.1:1234 → 10.0.0.2:53 udp 152 B  4.00 µs
  rewritten: 10.0.0.1:1234 → 10.0.0.2:5353 udp
  clone of #1
  server  eth0 →  dropped
    irq 24 → softirq → poll of 3/64 on cpu 0, eth0, 9.00 µs
    interrupt     +0 ns   500 ns  cpu 0  ███████▍
    receive     +500 ns  1.00 µs  cpu 0         ███████████████▏
    transport  +1.50 µs  2.50 µs  cpu 0                        █████████████████████████████████████
  dropped: NO_SOCKET in transport at __udp4_lib_rcv+0x42 (net/ipv4/udp.c:2501), cpu 0
    __udp4_lib_rcv+0x42 (net/ipv4/udp.c:2501)
    nf_hook+0x10 [nf_tables]
    0xffffffff82000000

",
    );
}

#[test]
fn a_narrow_terminal_gets_no_bars() {
    let narrow = Look {
        width: 50,
        stacks: false,
        ..PLAIN
    };
    assert_shows(
        &journey(&sample::dropped(), narrow),
        r"
#2  08:00:05.123456789Z  receive
  dropped NO_SOCKET
  10.0.0.1:1234 → 10.0.0.2:53 udp 152 B  4.00 µs
  rewritten: 10.0.0.1:1234 → 10.0.0.2:5353 udp
  clone of #1
  server  eth0 →  dropped
    irq 24 → softirq → poll of 3/64 on cpu 0, eth0, 9.00 µs
    interrupt     +0 ns   500 ns  cpu 0  █▏
    receive     +500 ns  1.00 µs  cpu 0   ██▍
    transport  +1.50 µs  2.50 µs  cpu 0     ██████
  dropped: NO_SOCKET in transport at __udp4_lib_rcv+0x42 (net/ipv4/udp.c:2501), cpu 0

",
    );
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in 70..200 {
        for line in journey(&sample::delivered(), Look { width, ..PLAIN }).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
            assert_eq!(line, line.trim_end(), "no spaces at the end");
        }
    }
}

#[test]
fn an_unfinished_packet_says_why() {
    let journey_of = |outcome| {
        journey(
            &Journey {
                outcome,
                partial: true,
                flow: None,
                ..sample::delivered()
            },
            PLAIN,
        )
    };
    let text = journey_of(Outcome::Unfinished(Unfinished::AddressReused));
    assert!(
        text.contains("unfinished: its end is not visible on this kernel  ipv4 152 B"),
        "{text}"
    );
    assert!(text.contains("its beginning was not seen"), "{text}");
}

#[test]
fn colours_only_when_asked_for() {
    let colored = journey(
        &sample::dropped(),
        Look {
            color: true,
            ..PLAIN
        },
    );
    assert!(
        colored.contains("\u{1b}[1m\u{1b}[31mdropped NO_SOCKET\u{1b}[0m"),
        "{colored:?}"
    );
    assert!(!journey(&sample::dropped(), PLAIN).contains('\u{1b}'));
}

#[test]
fn names_cannot_command_the_terminal() {
    let mut evil = sample::delivered();
    evil.sender.as_mut().expect("the sample has a sender").name = "\u{1b}]0;evil\u{7}".into();
    assert!(!journey(&evil, PLAIN).contains('\u{1b}'));
}

#[test]
fn the_latency_table() {
    let mut latency = Latency::new();
    for _ in 0..3 {
        latency.add(&sample::delivered());
    }
    latency.add(&sample::dropped());
    let incoming = Journey {
        direction: Direction::Receive,
        outcome: Outcome::Consumed,
        ..sample::dropped()
    };
    latency.add(&incoming);
    let (out, _) = shown(PLAIN, |text| {
        text.latency(&latency.rows(), latency.excluded())
    });
    assert_shows(
        &out,
        r"
receive: 1 packet
  STAGE      COUNT      P50      P90      P99    P99.9      MAX    SHARE
  interrupt      1   500 ns   500 ns   500 ns   500 ns   500 ns   12.5 %  ███
  receive        1  1.00 µs  1.00 µs  1.00 µs  1.00 µs  1.00 µs   25.0 %  ██████
  transport      1  2.50 µs  2.50 µs  2.50 µs  2.50 µs  2.50 µs   62.5 %  ███████████████
  total          1  4.00 µs  4.00 µs  4.00 µs  4.00 µs  4.00 µs  100.0 %

loop: 3 packets
  STAGE          COUNT      P50      P90      P99    P99.9      MAX    SHARE
  send               3   800 ns   800 ns   800 ns   800 ns   800 ns   <0.1 %  ▏
  ip_output          3   450 ns   450 ns   450 ns   450 ns   450 ns   <0.1 %  ▏
  output             3  1.23 µs  1.23 µs  1.23 µs  1.23 µs  1.23 µs   <0.1 %  ▏
  driver             3   640 ns   640 ns   640 ns   640 ns   640 ns   <0.1 %  ▏
  napi_schedule      3  2.10 µs  2.10 µs  2.10 µs  2.10 µs  2.10 µs   <0.1 %  ▏
  receive            3  ≤380 ns  ≤380 ns  ≤380 ns  ≤380 ns  ≤380 ns   <0.1 %  ░
  transport          3  4.00 µs  4.00 µs  4.00 µs  4.00 µs  4.00 µs   <0.1 %  ▏
  socket_queue       3  20.4 ms  20.4 ms  20.4 ms  20.4 ms  20.4 ms   99.9 %  █████████████████████▉
  recv               3  1.50 µs  1.50 µs  1.50 µs  1.50 µs  1.50 µs   <0.1 %  ▏
  total              3  20.4 ms  20.4 ms  20.4 ms  20.4 ms  20.4 ms  100.0 %

not in the table: 1 dropped
",
    );
}

#[test]
fn the_drop_table() {
    let mut drops = Drops::default();
    for _ in 0..3 {
        drops.add(&sample::dropped());
    }
    drops.add(&Journey {
        flow: None,
        ..sample::dropped()
    });
    let (out, _) = shown(PLAIN, |text| text.drops(&drops.groups(), &sample::names()));
    assert_shows(
        &out,
        r"
4 drops in 2 groups
COUNT  REASON     PLACE                                      STAGE      FLOW
    3  NO_SOCKET  __udp4_lib_rcv+0x42 (net/ipv4/udp.c:2501)  transport  10.0.0.1:1234 → 10.0.0.2:53 udp
         __udp4_lib_rcv+0x42 (net/ipv4/udp.c:2501)
         nf_hook+0x10 [nf_tables]
         0xffffffff82000000
    1  NO_SOCKET  __udp4_lib_rcv+0x42 (net/ipv4/udp.c:2501)  transport  no headers
         the same stack

",
    );
    assert_eq!(
        shown(PLAIN, |text| text.drops(&[], &sample::names())).0,
        "no drops\n\n"
    );
}

#[test]
fn the_attach_plan() {
    let (out, _) = shown(PLAIN, |text| text.plan(&sample::session()));
    assert_shows(
        &out,
        r"
HOOK      PROBE   AT                 NETNS   STATE     WHY
receive   tp_btf  netif_receive_skb          attached
ip        kprobe  ip_rcv_core                failed    no kprobes
nf_first  nf      ip PREROUTING      client  skipped   not asked for

stages not visible on this kernel:
  tc_ingress: fentry tcf_classify: EPERM
",
    );
}

#[test]
fn the_end_has_ledger_losses_and_what_nobody_saw() {
    let end = End {
        ledger: Ledger {
            seen: 10,
            delivered: 7,
            lost: 3,
            ..Ledger::default()
        },
        losses: Losses {
            segments: 3,
            births: 1,
            evicted: 1,
            missed: 2,
            ..Losses::default()
        },
        duration: Duration::from_millis(10_040),
        matched: 7,
        sample: Some((Sample { one_in: 100 }, 693)),
        budget: None,
    };
    let (out, messages) = shown(PLAIN, |text| {
        text.session(&sample::session())?;
        text.end(&end)
    });
    assert_shows(
        &out,
        r"
stages not visible on this kernel:
  tc_ingress: fentry tcf_classify: EPERM
one flow in 100 was followed; 693 segments of others left out
seen 10 = delivered 7 + lost 3 in 10.0 s
",
    );
    assert_shows(
        &messages,
        r"
pktjourney 0.1.0 on box, Linux 6.18.0 x86_64: 1 probe, 1 stage not visible here
warning: 3 segments found no room on the way up (a larger --buffer-size helps)
warning: 1 of these were the first of their packet: nothing else is known of those packets
warning: 1 journey ended early, since too many were open (a larger --max-journeys helps)
warning: 2 stamps could not be taken: a program of ours would have interrupted itself (-v names it)
",
    );
}

#[test]
fn the_end_says_what_became_of_a_budget() {
    let end = End {
        sample: Some((Sample { one_in: 100 }, 693)),
        budget: Some(sample::account()),
        duration: Duration::from_secs(10),
        ..End::default()
    };
    let (out, _) = shown(PLAIN, |text| text.end(&end));
    assert_shows(
        &out,
        r"
one flow in 100 was followed at last, after 3 changes; 693 segments of others left out
tracing took 1.5 % of the CPUs' time, of a budget of 2 %: 500 ms in the kernel, 102 ms in pktjourney
seen 0 = lost 0 in 10.0 s
",
    );
}

#[test]
fn a_ledger_that_does_not_balance_says_so() {
    let ledger = Ledger {
        seen: 2,
        sent: 1,
        ..Ledger::default()
    };
    let (out, messages) = shown(PLAIN, |text| {
        text.end(&End {
            ledger,
            ..End::default()
        })
    });
    assert_eq!(out, "seen 2 ≠ sent 1 + lost 0 in 0 ns\n");
    assert!(messages.contains("does not balance"), "{messages}");
}

#[test]
fn counters_that_grew_and_mean_loss() {
    use crate::stack::{
        interfaces::{Interface, Qdisc},
        meanwhile::{Counted, Meanwhile},
        softirq::Cpu,
    };
    let counters = |all: &[(&str, u64)]| {
        let all = all.iter().map(|(name, growth)| ((*name).into(), *growth));
        all.collect()
    };
    let qdisc = |parent: &str| Qdisc {
        kind: "pfifo".into(),
        parent: parent.into(),
        drops: 3,
        ..Qdisc::default()
    };
    let mut meanwhile = Meanwhile {
        start_ns: 1,
        end_ns: 2_000_000_001,
        cpus: vec![Cpu {
            cpu: 1,
            processed: 9,
            dropped: 4,
            ..Cpu::default()
        }],
        namespaces: vec![Counted {
            name: "blue".into(),
            protocols: counters(&[("IpInReceives", 500), ("UdpNoPorts", 20)]),
            interfaces: vec![Interface {
                name: "eth0".into(),
                counters: counters(&[("rx_packets", 500), ("rx_dropped", 0), ("tx_dropped", 2)]),
                qdiscs: vec![qdisc("root"), qdisc("1:1")],
                ..Interface::default()
            }],
            ..Counted::default()
        }],
        missing: Vec::new(),
    };
    let (out, _) = shown(PLAIN, |text| text.meanwhile(&meanwhile));
    assert_shows(
        &out,
        r"
what the kernel counted meanwhile, of all packets, in 2.00 s
  GREW BY  COUNTER                     WHERE         MEANING
        4  softnet_stat dropped        cpu 1         packets dropped: the CPU's backlog was full, or one flow had too much of it
       20  UdpNoPorts                  blue          datagrams received for a port that nobody listens on
        2  tx_dropped                  eth0 in blue  not sent: dropped by the driver
        3  tc -s qdisc: pfifo dropped  eth0 in blue  not sent: dropped by the qdisc

",
    );
    meanwhile.cpus.clear();
    meanwhile.namespaces.clear();
    assert_eq!(shown(PLAIN, |text| text.meanwhile(&meanwhile)).0, "");
}
