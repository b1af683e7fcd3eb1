//! A made-up stream of wire records: packets of eight TCP connections, each received in one segment and read in another.

use std::{collections::VecDeque, ops::Range};

use trace_ebpf::{Hook, Kind, PACKET_BYTES, SegmentHead, Tag, flags};

/// While it is received; then it lies in the socket's queue.
const RECEIVED: [Hook; 10] = [
    Hook::Gro,
    Hook::Receive,
    Hook::Ip,
    Hook::NfEnter,
    Hook::NfLeave,
    Hook::Deliver,
    Hook::Transport,
    Hook::TcpSocket,
    Hook::Queued,
    Hook::TransportDone,
];
const CONNECTIONS: u64 = 8;
/// Packets in a socket's queue, where many are open at a time.
const QUEUE: u64 = 32;
const READ_AFTER_NS: u64 = 90_000;

/// Records, one after the other.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Stream {
    /// A packet about every so many nanoseconds, read before the next one comes; always the same ones.
    #[allow(dead_code, reason = "not every user of this file has short queues")]
    pub fn new(packets: u64, gap_ns: u64) -> Self {
        Self::queued(packets, gap_ns, 0)
    }

    /// … and so many packets are received before the first of them is read: they are open at a time.
    pub fn queued(packets: u64, gap_ns: u64, open: u64) -> Self {
        let mut stream = Self::default();
        let mut random = Random(1);
        let mut time = 3_600_000_000_000;
        let mut unread = VecDeque::new();
        let connections = CONNECTIONS.max(open / QUEUE);
        for packet in 0..packets {
            time += gap_ns / 2 + random.below(gap_ns);
            let connection = random.below(connections);
            let mut segment = Segment {
                skb: 0xffff_8881_0420_0000 + 256 * (packet % (512 + 2 * open)),
                head: 0xffff_8881_8b40_0000 + 2_048 * (packet % (509 + 2 * open)),
                sk: 0xffff_8881_1234_0000 + 2_432 * connection,
                time,
                len: 100 + random.below(1_401) as u32,
                cpu: (connection % 4) as u16,
                packet: None,
                entries: Vec::new(),
            };
            segment.packet = Some(headers(&mut random, packet, connection, segment.len));
            segment.stamps(&mut random, &RECEIVED);
            stream.push(&segment.bytes());
            segment.packet = None;
            segment.entries.clear();
            unread.push_back((segment, connection));
            if packet < open {
                continue;
            }
            if let Some((mut segment, connection)) = unread.pop_front() {
                segment.time = time + READ_AFTER_NS + random.below(10_000);
                segment.stamps(&mut random, &[Hook::Copy]);
                segment.entry(4_000 + connection as u32, Tag::Pid as u8);
                segment.stamps(&mut random, &[Hook::Consume]);
                stream.push(&segment.bytes());
            }
        }
        stream
    }

    /// One after the other, as a ring has them.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.bytes[place.clone()])
    }

    /// Adds one.
    pub fn push(&mut self, record: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend(record);
        self.places.push(start..self.bytes.len());
    }
}

struct Segment {
    skb: u64,
    head: u64,
    sk: u64,
    time: u64,
    len: u32,
    cpu: u16,
    packet: Option<[u8; PACKET_BYTES]>,
    entries: Vec<u8>,
}

impl Segment {
    fn bytes(&self) -> Vec<u8> {
        let packet = self.packet.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let length = size_of::<SegmentHead>() + packet.len() + self.entries.len();
        let flags = if packet.is_empty() { 0 } else { flags::PACKET };
        let mut bytes = vec![Kind::Segment as u8, flags];
        for word in [length as u16, self.cpu, 0x0800] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [self.skb, self.time, self.head, self.sk] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [self.len, 0xf000_0123, 2, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(packet);
        bytes.extend(&self.entries);
        bytes
    }

    fn stamps(&mut self, random: &mut Random, hooks: &[Hook]) {
        let mut after = if self.entries.is_empty() { 0 } else { 300 };
        for &hook in hooks {
            self.entry(after, hook as u8);
            after += 40 + random.below(200) as u32;
        }
    }

    fn entry(&mut self, value: u32, tag: u8) {
        self.entries.extend(value.to_le_bytes());
        self.entries.extend([tag, 0, 0, 0]);
    }
}

/// IPv4, TCP with its timestamps, and the first bytes of what is encrypted.
fn headers(random: &mut Random, packet: u64, connection: u64, len: u32) -> [u8; PACKET_BYTES] {
    let mut bytes = Vec::with_capacity(PACKET_BYTES);
    bytes.extend([0x45, 0]);
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend((packet as u16).to_be_bytes());
    bytes.extend([0x40, 0, 64, 6]);
    bytes.extend((random.below(65_536) as u16).to_be_bytes());
    bytes.extend([
        192,
        0,
        2,
        1,
        198,
        51,
        (100 + (connection >> 8)) as u8,
        connection as u8,
    ]);
    bytes.extend((40_000 + connection as u16).to_be_bytes());
    bytes.extend(443_u16.to_be_bytes());
    bytes.extend((packet as u32).wrapping_mul(1_448).to_be_bytes());
    bytes.extend(0x1234_5678_u32.to_be_bytes());
    bytes.extend([0x80, 0x10, 1, 0xf5]);
    bytes.extend((random.below(65_536) as u16).to_be_bytes());
    bytes.extend([0, 0, 1, 1, 8, 10]);
    bytes.extend((packet as u32 / 500).to_be_bytes());
    bytes.extend((packet as u32 / 700).to_be_bytes());
    let mut all = [(); PACKET_BYTES].map(|()| random.below(256) as u8);
    all[..bytes.len()].copy_from_slice(&bytes);
    all
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
