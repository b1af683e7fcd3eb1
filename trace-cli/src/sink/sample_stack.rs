//! Sections of the network stack for the sinks' tests.

use crate::stack::{
    SectionError,
    connections::{
        Backlog, Connections, Count, Endpoint, Family, Interface, Memory, Owner, Protocol, Queues,
        Searched, Socket, State, Summary, TcpInfo, Timer, TimerKind,
    },
    nic::{Channels, Coalescing, Counter, Driver, Feature, Link, Loss, Nic, Nics, Pause, Rings},
};

fn missing() -> Vec<SectionError> {
    vec![SectionError::new("nic", "rings of eth0", "Permission denied").remedy("run it as root")]
}

fn socket() -> Socket {
    let endpoint = Endpoint {
        address: "2001:db8::1".parse().expect("an address"),
        port: 443,
    };
    Socket {
        protocol: Protocol::Tcp,
        family: Family::Ipv6,
        state: State::Established,
        local: endpoint.clone(),
        remote: Some(endpoint),
        interface: Some(Interface {
            index: 2,
            name: Some("eth0".into()),
        }),
        queues: Some(Queues {
            receive_bytes: 1,
            send_bytes: 2,
        }),
        backlog: None,
        uid: Some(1000),
        inode: Some(4242),
        processes: vec![Owner {
            pid: 12,
            name: "nginx".into(),
            fd: 6,
        }],
        timer: Some(Timer {
            kind: TimerKind::Keepalive,
            expires_ms: 7200,
            retransmits: 0,
        }),
        cookie: Some(u64::MAX),
        only_ipv6: Some(false),
        mark: Some(1),
        cgroup: Some(77),
        congestion: Some("cubic".into()),
        upper_layer: Some("tls".into()),
        memory: Some(Memory {
            receive_bytes: 0,
            receive_limit_bytes: 131_072,
            transmit_bytes: 0,
            send_limit_bytes: 87_040,
            reserved_bytes: -4096,
            queued_bytes: 0,
            options_bytes: 0,
            backlog_bytes: 0,
            drops: None,
        }),
        tcp: Some(Box::new(TcpInfo {
            rtt_us: Some(1500),
            rttvar_us: Some(250),
            cwnd_segments: Some(10),
            received_bytes: Some(5000),
            ..TcpInfo::default()
        })),
    }
}

pub fn connections() -> Connections {
    let listener = Socket {
        state: State::Listen,
        cookie: Some(1),
        remote: None,
        queues: None,
        backlog: Some(Backlog {
            pending: 2,
            limit: 1,
            dropped: Some(4),
        }),
        timer: None,
        tcp: None,
        ..socket()
    };
    Connections {
        summary: Summary {
            sockets: 2,
            counts: [State::Listen, State::Established]
                .map(|state| Count {
                    protocol: Protocol::Tcp,
                    family: Family::Ipv6,
                    state,
                    sockets: 1,
                })
                .into(),
            ..Summary::default()
        },
        sockets: vec![listener, socket()],
        not_listed: 0,
        searched: Searched {
            processes: 10,
            unreadable: 1,
        },
        not_given: TcpInfo::not_given(232),
        missing: missing(),
    }
}

pub fn nics() -> Nics {
    let feature = Feature {
        on: true,
        changeable: true,
        wanted: false,
    };
    let bare = Nic {
        index: 1,
        name: "lo".into(),
        driver: None,
        link: None,
        rings: None,
        channels: None,
        coalescing: None,
        pause: None,
        features: None,
        counters: None,
    };
    let full = Nic {
        index: 2,
        name: "eth0".into(),
        driver: Some(Driver {
            name: "ixgbe".into(),
            version: Some("6.18".into()),
            firmware: None,
            bus: Some("0000:03:00.0".into()),
        }),
        link: Some(Link {
            up: Some(true),
            speed_mbit_per_s: Some(10_000),
            full_duplex: Some(true),
            port: Some("fibre"),
            advertised: vec!["10000baseSR/Full".into()],
            ..Link::default()
        }),
        rings: Some(Rings {
            rx: Some(512),
            rx_max: Some(4096),
            ..Rings::default()
        }),
        channels: Some(Channels {
            combined: Some(8),
            combined_max: Some(63),
            ..Channels::default()
        }),
        coalescing: Some(Coalescing {
            adaptive_rx: Some(true),
            rx_us: Some(50),
            ..Coalescing::default()
        }),
        pause: Some(Pause {
            rx: Some(true),
            tx: Some(false),
            ..Pause::default()
        }),
        features: Some([("rx-gro".to_owned(), feature)].into()),
        counters: Some(vec![Counter {
            name: "rx_no_dma_resources".into(),
            value: 3,
            loss: Some(Loss::Missed),
            meaning: Some("no free buffer"),
        }]),
    };
    Nics {
        devices: vec![bare, full],
        missing: missing(),
    }
}
