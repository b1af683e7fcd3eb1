//! Each rule: silent where nothing is wrong, heard where something is, with the values it is known by.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::stack::{
    Snapshot,
    interfaces::{Interface, Interfaces, Napi, Qdisc, ReceiveQueue},
    interrupts::{Interrupt, Interrupts},
    nic::{Counter, Loss, Nic, Nics, Rings},
    protocols::Protocols,
    sockets::{Buffer, Memory, Protocol, Sockets},
    softirq::{Cpu, Softirq},
    tables::{Table, Tables},
};

fn counters(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

fn settings(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

fn cpu(cpu: u32, processed: u64) -> Cpu {
    Cpu {
        cpu,
        processed,
        net_rx: Some(100_000),
        ..Cpu::default()
    }
}

fn eth0_card() -> Nic {
    Nic {
        index: 2,
        name: "eth0".to_owned(),
        driver: None,
        link: None,
        rings: Some(Rings {
            rx: Some(512),
            rx_max: Some(4096),
            ..Rings::default()
        }),
        channels: None,
        coalescing: None,
        pause: None,
        features: None,
        counters: Some(vec![Counter {
            name: "rx_no_buffer_count".to_owned(),
            value: 0,
            loss: Some(Loss::Missed),
            meaning: None,
        }]),
    }
}

/// A busy host with nothing wrong, just below the marks.
fn healthy() -> Snapshot {
    let interrupt = |irq, counts: &[(u32, u64)]| Interrupt {
        irq,
        interface: "eth0".to_owned(),
        name: format!("eth0-{irq}"),
        counts: counts.iter().copied().collect(),
        ..Interrupt::default()
    };
    let eth0 = Interface {
        name: "eth0".to_owned(),
        up: true,
        queue_packets: Some(1000),
        counters: counters(&[("rx_missed_errors", 0), ("rx_dropped", 5)]),
        qdiscs: vec![Qdisc {
            kind: "pfifo_fast".to_owned(),
            handle: "0:".to_owned(),
            parent: "root".to_owned(),
            packets: 1_000_000,
            drops: 999,
            ..Qdisc::default()
        }],
        napi: Some(Napi {
            receive: vec![ReceiveQueue::default()],
            ..Napi::default()
        }),
        ..Interface::default()
    };
    Snapshot {
        taken_ns: 0,
        machine: Machine {
            polls: None,
            softirq: Some(Softirq {
                cpus: vec![
                    Cpu {
                        time_squeeze: 99,
                        ..cpu(0, 890_000)
                    },
                    cpu(1, 110_000),
                ],
                settings: settings(&[
                    ("core/netdev_budget", 300),
                    ("core/netdev_budget_usecs", 2000),
                    ("core/netdev_max_backlog", 1000),
                ]),
                flow_limit_cpus: None,
            }),
            missing: Vec::new(),
        },
        namespaces: vec![Namespace {
            name: "host".to_owned(),
            inode: 1,
            sockets: Some(Sockets {
                protocols: vec![Protocol {
                    name: "TCP".to_owned(),
                    orphans: Some(89),
                    time_wait: Some(89),
                    ..Protocol::default()
                }],
                memory: vec![Memory {
                    protocol: "TCP".to_owned(),
                    used_bytes: 4095,
                    low_bytes: 2048,
                    pressure_bytes: 4096,
                    high_bytes: 8192,
                }],
                tcp_receive_buffer: Some(Buffer {
                    min_bytes: 4096,
                    default_bytes: 131_072,
                    max_bytes: 6_291_456,
                }),
                limits: settings(&[
                    ("core/somaxconn", 4096),
                    ("core/rmem_default", 212_992),
                    ("core/rmem_max", 212_992),
                    ("ipv4/tcp_max_orphans", 100),
                    ("ipv4/tcp_max_tw_buckets", 100),
                    ("ipv4/tcp_max_syn_backlog", 512),
                ]),
                ..Sockets::default()
            }),
            interrupts: Some(Interrupts {
                interrupts: vec![
                    interrupt(60, &[(0, 80_000), (1, 0)]),
                    interrupt(61, &[(0, 0), (1, 20_000)]),
                ],
                missing: Vec::new(),
            }),
            interfaces: Some(Interfaces {
                interfaces: vec![eth0],
                missing: Vec::new(),
            }),
            tables: Some(Tables {
                tables: ["conntrack", "arp", "ndisc"]
                    .map(|name| Table {
                        name: name.to_owned(),
                        entries: Some(899),
                        max_entries: Some(1000),
                        counters: counters(&[("drop", 0), ("table_fulls", 0)]),
                    })
                    .to_vec(),
                missing: Vec::new(),
            }),
            protocols: Some(Protocols {
                counters: counters(&[("TcpOutSegs", 100_000), ("TcpRetransSegs", 999)]),
                gauges: BTreeMap::new(),
            }),
            nic: Some(Nics {
                devices: vec![eth0_card()],
                missing: Vec::new(),
            }),
            ..Namespace::default()
        }],
    }
}

fn count(snapshot: &mut Snapshot, name: &str, value: u64) {
    let protocols = snapshot.namespaces[0].protocols.as_mut().unwrap();
    protocols.counters.insert(name.to_owned(), value);
}

fn sockets(snapshot: &mut Snapshot) -> &mut Sockets {
    snapshot.namespaces[0].sockets.as_mut().unwrap()
}

fn interface(snapshot: &mut Snapshot) -> &mut Interface {
    &mut snapshot.namespaces[0]
        .interfaces
        .as_mut()
        .unwrap()
        .interfaces[0]
}

fn cpus(snapshot: &mut Snapshot) -> &mut Vec<Cpu> {
    &mut snapshot.machine.softirq.as_mut().unwrap().cpus
}

fn table<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Table {
    let tables = snapshot.namespaces[0].tables.as_mut().unwrap();
    tables
        .tables
        .iter_mut()
        .find(|table| table.name == name)
        .unwrap()
}

type Fault = fn(&mut Snapshot);

/// Rule, what makes it speak, what it is known by, and a command of its advice.
const CASES: &[(&str, Fault, (&str, u64), &str)] = &[
    (
        "ring_overrun",
        |host| {
            interface(host)
                .counters
                .insert("rx_missed_errors".to_owned(), 3);
        },
        ("rx_missed_errors", 3),
        "ethtool -G eth0 rx 4096",
    ),
    (
        "napi_budget",
        |host| cpus(host)[1].time_squeeze = 100,
        ("softnet_stat time_squeeze", 100),
        "sysctl -w net.core.netdev_budget=600",
    ),
    (
        "backlog_drops",
        |host| cpus(host)[1].dropped = 1,
        ("softnet_stat dropped", 1),
        "sysctl -w net.core.netdev_max_backlog=2000",
    ),
    (
        "one_cpu",
        |host| cpus(host)[0].processed = 990_000,
        ("softnet_stat processed, CPU 0", 990_000),
        "echo 3 > /sys/class/net/eth0/queues/rx-0/rps_cpus",
    ),
    (
        "interrupts_on_one_cpu",
        |host| {
            let interrupts = host.namespaces[0].interrupts.as_mut().unwrap();
            interrupts.interrupts[1].counts = BTreeMap::from([(0, 20_000), (1, 0)]);
        },
        ("/proc/interrupts of eth0, CPU 0", 100_000),
        "echo 1 > /proc/irq/61/smp_affinity_list",
    ),
    (
        "listen_overflow",
        |host| count(host, "TcpExtListenOverflows", 1),
        ("TcpExtListenOverflows", 1),
        "sysctl -w net.core.somaxconn=8192",
    ),
    (
        "syn_queue",
        |host| count(host, "TcpExtTCPReqQFullDoCookies", 2),
        ("TcpExtTCPReqQFullDoCookies", 2),
        "sysctl -w net.ipv4.tcp_max_syn_backlog=1024",
    ),
    (
        "udp_receive_buffer",
        |host| count(host, "Udp6RcvbufErrors", 9),
        ("Udp6RcvbufErrors", 9),
        "sysctl -w net.core.rmem_max=425984",
    ),
    (
        "tcp_receive_buffer",
        |host| count(host, "TcpExtTCPRcvQDrop", 4),
        ("TcpExtTCPRcvQDrop", 4),
        "sysctl -w net.ipv4.tcp_rmem='4096 131072 12582912'",
    ),
    (
        "socket_memory",
        |host| sockets(host).memory[0].used_bytes = 4096,
        ("TCP pressure mark, bytes", 4096),
        "sysctl -w net.ipv4.tcp_mem='1 2 4'",
    ),
    (
        "orphans",
        |host| sockets(host).protocols[0].orphans = Some(90),
        ("sockstat TCP orphan", 90),
        "sysctl -w net.ipv4.tcp_max_orphans=200",
    ),
    (
        "time_wait",
        |host| sockets(host).protocols[0].time_wait = Some(90),
        ("sockstat TCP tw", 90),
        "sysctl -w net.ipv4.tcp_max_tw_buckets=200",
    ),
    (
        "retransmits",
        |host| count(host, "TcpRetransSegs", 1000),
        ("TcpRetransSegs", 1000),
        "pktjourney drops tcp",
    ),
    (
        "mtu_black_hole",
        |host| count(host, "TcpExtTCPMTUPSuccess", 1),
        ("TcpExtTCPMTUPSuccess", 1),
        "sysctl -w net.ipv4.tcp_mtu_probing=1",
    ),
    (
        "conntrack_full",
        |host| table(host, "conntrack").entries = Some(900),
        ("conntrack entries", 900),
        "sysctl -w net.netfilter.nf_conntrack_max=2000",
    ),
    (
        "neighbour_table",
        |host| {
            let table = table(host, "ndisc");
            table.counters.insert("table_fulls".to_owned(), 7);
        },
        ("ndisc table_fulls", 7),
        "sysctl -w net.ipv6.neigh.default.gc_thresh3=2000",
    ),
    (
        "qdisc_drops",
        |host| interface(host).qdiscs[0].drops = 1002,
        ("tc -s qdisc: dropped", 1002),
        "ip link set dev eth0 txqueuelen 2000",
    ),
];

#[test]
fn nothing_is_wrong_with_a_healthy_host() {
    assert_eq!(advise(&Report::compare(healthy(), None)), []);
}

#[test]
fn each_rule_speaks_of_its_own_fault_only() {
    for (rule, fault, (name, value), command) in CASES {
        let mut host = healthy();
        fault(&mut host);
        let all = advise(&Report::compare(host, None));
        let [advice] = all.as_slice() else {
            panic!("{rule}: {all:#?}")
        };
        assert_eq!(advice.rule, *rule);
        assert!(
            advice.evidence.contains(&evidence(*name, *value)),
            "{advice:#?}"
        );
        assert!(
            advice.commands.iter().any(|one| one == command),
            "{advice:#?}"
        );
        let of_machine = matches!(*rule, "napi_budget" | "backlog_drops");
        assert_eq!(advice.netns.is_none(), of_machine);
    }
}

#[test]
fn every_rule_has_its_case() {
    let names = |all: &mut dyn Iterator<Item = &'static str>| all.collect::<BTreeSet<_>>();
    let rules = names(&mut RULES.iter().map(|rule| rule.name));
    assert_eq!(rules, names(&mut CASES.iter().map(|case| case.0)));
    assert_eq!(rules.len(), RULES.len());
}

#[test]
fn a_drivers_own_counter_is_enough_and_a_full_size_ring_is_not_made_larger() {
    let mut host = healthy();
    let card = &mut host.namespaces[0].nic.as_mut().unwrap().devices[0];
    card.counters.as_mut().unwrap()[0].value = 6;
    card.rings.as_mut().unwrap().rx = Some(4096);
    let all = advise(&Report::compare(host, None));
    assert_eq!(all.len(), 1);
    assert_eq!(
        all[0].evidence[0],
        evidence("ethtool -S: rx_no_buffer_count", 6)
    );
    assert_eq!(all[0].commands, ["ethtool -S eth0", "ethtool -c eth0"]);
}

#[test]
fn over_an_interval_only_what_happened_in_it_counts() {
    let mut before = healthy();
    count(&mut before, "TcpExtListenOverflows", 5);
    let mut after = before.clone();
    after.taken_ns = 1_000_000_000;
    assert_eq!(advise(&Report::compare(after.clone(), Some(&before))), []);
    count(&mut after, "TcpExtListenOverflows", 7);
    let all = advise(&Report::compare(after, Some(&before)));
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].evidence, [evidence("TcpExtListenOverflows", 2)]);
}

#[test]
fn nothing_read_is_nothing_said() {
    let empty = Snapshot {
        taken_ns: 0,
        machine: Machine::default(),
        namespaces: vec![Namespace::default()],
    };
    assert_eq!(advise(&Report::compare(empty, None)), []);
}
