//! A report of `stack` with every field that there is.

use std::collections::BTreeMap;

use crate::stack::{
    Machine, Namespace, Report, SectionError, Snapshot,
    interfaces::{Interface, Interfaces, Napi, Qdisc, ReceiveQueue, TransmitQueue},
    interrupts::{Interrupt, Interrupts},
    meanwhile::{Counted, Meanwhile},
    polls::{Polled, Polls},
    protocols::{self, Protocols},
    sockets::{self, Buffer, Memory, Sockets},
    softirq::{self, Softirq},
    tables::{self, Table, Tables},
};

fn missing() -> Vec<SectionError> {
    vec![SectionError::new("sockets", "sockstat6", "no IPv6").remedy("load ipv6")]
}

fn machine() -> Machine {
    let line = format!("{}{}", "00000005 ".repeat(12), "00000001 00000000");
    let mut cpus = softirq::parse(&line).expect("a line of softnet_stat");
    for cpu in &mut cpus {
        (cpu.net_rx, cpu.net_tx) = (Some(1), Some(2));
    }
    Machine {
        softirq: Some(Softirq {
            cpus,
            settings: BTreeMap::from([("core/netdev_budget".to_owned(), 300)]),
            flow_limit_cpus: Some("00".to_owned()),
        }),
        polls: Some(Polls {
            interval_ns: 250_000_000,
            devices: vec![Polled {
                device: "eth0".to_owned(),
                index: Some(2),
                netns: Some("blue".to_owned()),
                polls: 10,
                packets: 100,
                full_polls: 1,
            }],
            other_polls: 0,
        }),
        missing: missing(),
    }
}

fn interface() -> Interface {
    Interface {
        index: 2,
        name: "eth0".to_owned(),
        kind: Some("veth".to_owned()),
        up: true,
        carrier: true,
        mtu_bytes: Some(1500),
        address: Some("02:00:00:00:00:01".to_owned()),
        master_index: Some(3),
        queue_packets: Some(1000),
        counters: BTreeMap::from([("rx_packets".to_owned(), 7)]),
        qdiscs: vec![Qdisc {
            kind: "fq_codel".to_owned(),
            handle: "0:".to_owned(),
            parent: "root".to_owned(),
            drops: 1,
            ..Qdisc::default()
        }],
        napi: Some(Napi {
            threaded: Some(false),
            gro_flush_timeout_ns: Some(0),
            defer_hard_irqs: Some(0),
            receive: vec![ReceiveQueue {
                rps_cpus: Some("3".to_owned()),
                rps_flow_count: Some(0),
            }],
            transmit: vec![TransmitQueue {
                xps_cpus: Some("1".to_owned()),
                timeouts: Some(0),
                limit_bytes: Some(1000),
                in_flight_bytes: Some(0),
            }],
        }),
    }
}

fn sockets() -> Sockets {
    let buffer = Buffer {
        min_bytes: 4096,
        default_bytes: 131_072,
        max_bytes: 6_291_456,
    };
    let (used, protocols) = sockets::parse(
        "sockets: used 9\nTCP: inuse 5 orphan 1 tw 2 alloc 9 mem 3\n",
        4096,
    );
    Sockets {
        used: used.expect("the number of sockets"),
        protocols,
        memory: vec![Memory {
            protocol: "TCP".to_owned(),
            used_bytes: 1,
            low_bytes: 2,
            pressure_bytes: 3,
            high_bytes: 4,
        }],
        tcp_receive_buffer: Some(buffer),
        tcp_send_buffer: Some(buffer),
        limits: BTreeMap::from([("core/somaxconn".to_owned(), 4096)]),
        missing: Vec::new(),
    }
}

fn namespace() -> Namespace {
    let mut counted = Protocols::default();
    protocols::pairs(
        "TcpExt: ListenOverflows\nTcpExt: 3\nTcp: MaxConn\nTcp: -1\n",
        &mut counted,
    );
    let (entries, counters) = tables::parse("entries drop\n00000003 00000000\n");
    Namespace {
        name: "blue".to_owned(),
        inode: 4_026_532_000,
        sockets: Some(sockets()),
        interrupts: Some(Interrupts {
            interrupts: vec![Interrupt {
                irq: 60,
                interface: "eth0".to_owned(),
                name: "eth0-TxRx-0".to_owned(),
                counts: BTreeMap::from([(0, 7)]),
                affinity: Some("0-1".to_owned()),
                effective_affinity: Some("0".to_owned()),
            }],
            missing: Vec::new(),
        }),
        interfaces: Some(Interfaces {
            interfaces: vec![interface()],
            missing: Vec::new(),
        }),
        tables: Some(Tables {
            tables: vec![Table {
                name: "conntrack".to_owned(),
                entries,
                max_entries: Some(65_536),
                counters,
            }],
            missing: Vec::new(),
        }),
        protocols: Some(counted),
        connections: Some(crate::sink::sample_stack::connections()),
        nic: Some(crate::sink::sample_stack::nics()),
        missing: missing(),
    }
}

/// What the kernel counted during a trace.
pub(super) fn meanwhile() -> Meanwhile {
    let sockets = sockets().protocols;
    Meanwhile {
        start_ns: 5,
        end_ns: 1_000_000_005,
        cpus: machine().softirq.expect("it is there").cpus,
        namespaces: vec![Counted {
            name: "blue".to_owned(),
            inode: 4_026_532_000,
            protocols: BTreeMap::from([("UdpNoPorts".to_owned(), 7)]),
            sockets: [sockets.clone(), sockets],
            interfaces: vec![interface()],
        }],
        missing: missing(),
    }
}

/// Two readings a second apart, between which a listener refused two connections.
pub(super) fn report() -> Report {
    let before = Snapshot {
        taken_ns: 5,
        machine: machine(),
        namespaces: vec![namespace()],
    };
    let mut now = Snapshot {
        taken_ns: 1_000_000_005,
        ..before.clone()
    };
    let protocols = now.namespaces[0].protocols.as_mut().expect("it is there");
    protocols
        .counters
        .insert("TcpExtListenOverflows".to_owned(), 5);
    Report::new(now, Some(&before))
}

#[test]
fn growth_stands_beside_what_it_is_of() {
    let lines = super::lines(|json| json.stack(&report()));
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str()).collect();
    assert_eq!(types, [Some("machine"), Some("stack"), Some("advice")]);
    assert_eq!(
        lines[1]["protocols"]["counters"]["TcpExtListenOverflows"],
        5
    );
    let growth = &lines[1]["growth"];
    assert_eq!(growth["interval_ns"], 1_000_000_000);
    assert_eq!(growth["protocols"]["counters"]["TcpExtListenOverflows"], 2);
    assert_eq!(lines[2]["evidence"][0]["value"], 2);
}
