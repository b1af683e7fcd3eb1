//! Which socket a connection's packets are for, learnt from packets of which it is known.
//!
//! A socket that a process has locked puts what arrives on its backlog (`tcp_add_backlog`), and merges it
//! there with what came before (the tail of `tcp_add_backlog`): the packet's sk_buff then never meets a
//! hook that names the socket. Without the hooks on the way to a socket, nothing ever does. But the
//! connection's other packets do, in both directions.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::model::Flow;

/// Connections remembered; the oldest are forgotten.
const LIMIT: usize = 65_536;

/// A connection as its arriving packets have it, in one network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    netns: u32,
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
}

impl Key {
    fn arriving(netns: u32, flow: &Flow) -> Option<Self> {
        Some(Self {
            netns,
            source: flow.source,
            destination: flow.destination,
            ports: flow.ports?,
        })
    }

    fn leaving(netns: u32, flow: &Flow) -> Option<Self> {
        let (source, destination) = flow.ports?;
        Some(Self {
            netns,
            source: flow.destination,
            destination: flow.source,
            ports: (destination, source),
        })
    }
}

impl Key {
    /// A datagram socket gets what any sender sends to its address and port.
    fn datagram(netns: u32, flow: &Flow) -> Option<Self> {
        Some(Self {
            netns,
            source: flow.destination,
            destination: flow.destination,
            ports: (0, flow.ports?.1),
        })
    }
}

/// Sockets by connection.
#[derive(Default, Debug)]
pub(super) struct Connections {
    /// Other hosts choose addresses and ports: the hash is keyed.
    sockets: HashMap<Key, u64, RandomState>,
    by_age: VecDeque<Key>,
}

impl Connections {
    /// `sk` got a packet with these headers.
    pub(super) fn received(&mut self, netns: u32, flow: &Flow, sk: u64) {
        self.learn(Key::arriving(netns, flow), sk);
    }

    /// `sk` sent a packet with these headers.
    pub(super) fn sent(&mut self, netns: u32, flow: &Flow, sk: u64) {
        self.learn(Key::leaving(netns, flow), sk);
    }

    /// `sk` got a datagram with these headers.
    pub(super) fn datagram(&mut self, netns: u32, flow: &Flow, sk: u64) {
        self.learn(Key::datagram(netns, flow), sk);
    }

    /// The socket that datagrams with these headers are for.
    pub(super) fn datagram_receiver(&self, netns: u32, flow: &Flow) -> Option<u64> {
        self.sockets.get(&Key::datagram(netns, flow)?).copied()
    }

    fn learn(&mut self, key: Option<Key>, sk: u64) {
        let Some(key) = key else { return };
        if self.sockets.insert(key, sk).is_some() {
            return;
        }
        self.by_age.push_back(key);
        if self.by_age.len() > LIMIT
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.sockets.remove(&oldest);
        }
    }

    /// The socket that sends packets with these headers.
    pub(super) fn sender(&self, netns: u32, flow: &Flow) -> Option<u64> {
        self.sockets.get(&Key::leaving(netns, flow)?).copied()
    }

    /// The socket that packets with these headers are for.
    pub(super) fn receiver(&self, netns: u32, flow: &Flow) -> Option<u64> {
        self.sockets.get(&Key::arriving(netns, flow)?).copied()
    }
}
