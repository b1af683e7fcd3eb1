//! Segments: read in place, for they are nearly all that comes.

use trace_ebpf::{Entry, Hook, MAX_ENTRIES, PACKET_BYTES, SegmentHead, Tag, flags};

use super::{DecodeError, Fields};

pub(super) const HEAD: usize = size_of::<SegmentHead>();
pub(super) const ENTRY: usize = size_of::<Entry>();
/// Entries below are hooks, from here on facts (see [`trace_ebpf::Entry`]).
const FIRST_TAG: u8 = 128;
/// Where the tag lies in an entry.
const TAG: usize = std::mem::offset_of!(Entry, tag);

/// Which entries a segment has: a bit for each hook and tag.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tags(u64);

impl Tags {
    /// Those of stamps of these hooks.
    pub const fn of(hooks: &[Hook]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < hooks.len() {
            bits |= 1 << BIT[hooks[i] as usize];
            i += 1;
        }
        Self(bits)
    }

    /// Those of these entries.
    pub fn in_entries(entries: &[[u8; ENTRY]]) -> Self {
        let bits = entries.iter().map(|bytes| BIT[usize::from(bytes[TAG])]);
        Self(bits.fold(0, |tags, bit| tags | 1 << bit))
    }

    /// Whether some are in both.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The bit of each number that an entry may have; 0 of one that this version does not know.
static BIT: [u8; 256] = {
    let mut bits = [UNKNOWN; 256];
    let (mut number, mut next) = (0, UNKNOWN + 1);
    while number < bits.len() {
        if hook(number as u8).is_some() || tag(number as u8).is_some() {
            bits[number] = next;
            next += 1;
        }
        number += 1;
    }
    assert!(next as u32 <= u64::BITS);
    bits
};
const UNKNOWN: u8 = 0;
const RECEIVED: Tags = Tags(1 << BIT[Tag::Received as usize]);

/// The stamps that one sk_buff gathered on one CPU without being handed over. Headers and entries lie where the record
/// does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// CPU of every stamp.
    pub cpu: u16,
    /// See [`trace_ebpf::flags`].
    pub flags: u8,
    /// `skb->protocol`.
    pub ether_type: u16,
    /// Address of the sk_buff.
    pub skb: u64,
    /// `skb->head`.
    pub head: u64,
    /// The socket, 0 when none was seen.
    pub sk: u64,
    /// Time of the first stamp, CLOCK_MONOTONIC ns.
    pub t0: u64,
    /// `skb->len`.
    pub len: u32,
    /// Network namespace of the first stamp.
    pub netns: u32,
    /// Interface of the first stamp, 0 when none.
    pub ifindex: u32,
    /// The packet's first bytes from its network header on: all headers that are read of it, at most [`PACKET_BYTES`].
    pub packet: Option<&'a [u8]>,
    /// What its entries are; of a part of a segment those of the whole.
    pub tags: Tags,
    /// In the wire's order and form. Every tag is known; the kernel never sends more than [`MAX_ENTRIES`].
    entries: &'a [[u8; ENTRY]],
}

/// One entry of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// The packet passed a hook.
    Stamp {
        /// Where.
        hook: Hook,
        /// When, CLOCK_MONOTONIC ns.
        time: u64,
        /// The entry's first small field.
        a: u8,
        /// The entry's second small field.
        b: u16,
    },
    /// From here on it is on this interface.
    Device(u32),
    /// From here on it is in this network namespace.
    Netns(u32),
    /// The thread of the stamp before.
    Pid(u32),
    /// The poll (of the stamp before), by its number on this CPU.
    Poll(u32),
    /// That poll ended; it was the backlog's.
    PollEnd {
        /// When, CLOCK_MONOTONIC ns.
        time: u64,
        /// Packets it handled.
        work: u8,
        /// Packets it was allowed.
        budget: u16,
    },
    /// The `recv()` that copied it returned. When, CLOCK_MONOTONIC ns.
    Returned(u64),
    /// A part of a [`Call`], which is no part of the packet's way.
    Call,
}

/// A `recv()` on a segment's socket, of which the segment tells ([`Tag::Received`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// It began to copy, CLOCK_MONOTONIC ns; of a datagram socket not known: `end`.
    pub start: u64,
    /// It returned, CLOCK_MONOTONIC ns.
    pub end: u64,
    /// Thread id.
    pub pid: u32,
}

impl<'a> Segment<'a> {
    /// A segment of parts that were decoded before: what is kept of it by [`head`](Self::head), `tags`, `packet` and
    /// [`entries`](Self::entries).
    pub const fn new(head: &SegmentHead, tags: Tags, packet: &'a [u8], entries: &'a [u8]) -> Self {
        let packet = if head.flags & flags::PACKET != 0 {
            Some(packet)
        } else {
            None
        };
        let (entries, _) = entries.as_chunks();
        Self {
            cpu: head.cpu,
            flags: head.flags,
            ether_type: head.protocol,
            skb: head.skb,
            head: head.head,
            sk: head.sk,
            t0: head.t0,
            len: head.len,
            netns: head.netns,
            ifindex: head.ifindex,
            packet,
            tags,
            entries,
        }
    }

    /// Its head, as the wire has it but for its kind and length.
    pub fn head(&self) -> SegmentHead {
        SegmentHead {
            cpu: self.cpu,
            flags: self.flags,
            protocol: self.ether_type,
            skb: self.skb,
            head: self.head,
            sk: self.sk,
            t0: self.t0,
            len: self.len,
            netns: self.netns,
            ifindex: self.ifindex,
            ..SegmentHead::default()
        }
    }

    /// The packet's first bytes, zeros where they were cut off.
    pub fn headers(&self) -> Option<[u8; PACKET_BYTES]> {
        let packet = self.packet?;
        let mut bytes = [0; PACKET_BYTES];
        bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(bytes)
    }

    /// Its entries, as the wire has them.
    pub const fn entries(&self) -> &'a [[u8; ENTRY]] {
        self.entries
    }

    /// The calls that it tells of.
    pub fn calls(&self) -> impl Iterator<Item = Call> + use<'a> {
        let t0 = self.t0;
        let is_call = |bytes: &[u8; ENTRY]| bytes[TAG] == Tag::Received as u8;
        let calls = if self.tags.meets(RECEIVED) {
            self.entries
        } else {
            &[]
        };
        calls.windows(2).filter_map(move |pair| {
            let [call, by] = pair else { return None };
            if !is_call(call) || by[TAG] != Tag::Receiver as u8 {
                return None;
            }
            let call = entry(call);
            let end = t0.saturating_add(u64::from(call.value));
            Some(Call {
                start: end.saturating_sub(call.before()),
                end,
                pid: entry(by).value,
            })
        })
    }

    /// Its entries, in the wire's order.
    pub fn items(&self) -> impl Iterator<Item = Item> + Clone + use<'a> {
        let t0 = self.t0;
        let entries = self.entries.iter();
        entries.filter_map(move |bytes| item(entry(bytes), t0))
    }

    /// The entries before the `at`th, and those from there on as a segment of its own: without headers, and without the socket,
    /// which may be that of the entries before.
    pub fn split(self, at: usize) -> (Self, Self) {
        let (before, after) = self.entries.split_at(at.min(self.entries.len()));
        let first = Self {
            entries: before,
            ..self
        };
        let second = Self {
            flags: self.flags & !flags::PACKET,
            packet: None,
            sk: 0,
            entries: after,
            ..self
        };
        (first, second)
    }
}

fn entry(bytes: &[u8; ENTRY]) -> Entry {
    let [v0, v1, v2, v3, tag, a, b0, b1] = *bytes;
    Entry {
        value: u32::from_ne_bytes([v0, v1, v2, v3]),
        tag,
        a,
        b: u16::from_ne_bytes([b0, b1]),
    }
}

fn item(entry: Entry, t0: u64) -> Option<Item> {
    if entry.tag < FIRST_TAG {
        return Some(Item::Stamp {
            hook: hook(entry.tag)?,
            time: t0.saturating_add(u64::from(entry.value)),
            a: entry.a,
            b: entry.b,
        });
    }
    Some(match tag(entry.tag)? {
        Tag::Device => Item::Device(entry.value),
        Tag::Netns => Item::Netns(entry.value),
        Tag::Pid => Item::Pid(entry.value),
        Tag::Poll => Item::Poll(entry.value),
        Tag::PollEnd => Item::PollEnd {
            time: t0.saturating_add(u64::from(entry.value)),
            work: entry.a,
            budget: entry.b,
        },
        Tag::Returned => Item::Returned(t0.saturating_add(u64::from(entry.value))),
        Tag::Received | Tag::Receiver => Item::Call,
    })
}

pub(super) fn segment(fields: Fields<'_>) -> Result<Segment<'_>, DecodeError> {
    let shape = DecodeError::Shape(fields.0.len());
    fields.at_least(HEAD)?;
    let flags = fields.0[1];
    let mut rest = &fields.0[HEAD..];
    let packet = if flags & flags::PACKET != 0 {
        let kept = usize::try_from(fields.u32(52))
            .ok()
            .and_then(|cut| PACKET_BYTES.checked_sub(cut));
        let (packet, after) = rest.split_at_checked(kept.ok_or(shape)?).ok_or(shape)?;
        rest = after;
        Some(packet)
    } else {
        None
    };
    let (entries, more) = rest.as_chunks();
    if !more.is_empty() || entries.len() > MAX_ENTRIES {
        return Err(shape);
    }
    let tags = Tags::in_entries(entries);
    if tags.meets(Tags(1 << UNKNOWN)) {
        let mut numbers = entries.iter().map(|bytes| bytes[TAG]);
        let unknown = numbers.find(|&number| BIT[usize::from(number)] == UNKNOWN);
        return Err(DecodeError::UnknownTag(unknown.unwrap_or(0)));
    }
    Ok(Segment {
        cpu: fields.cpu(4)?,
        flags,
        ether_type: fields.u16(6),
        skb: fields.u64(8),
        t0: fields.u64(16),
        head: fields.u64(24),
        sk: fields.u64(32),
        len: fields.u32(40),
        netns: fields.u32(44),
        ifindex: fields.u32(48),
        packet,
        tags,
        entries,
    })
}

/// The hook with this number in the wire format.
pub const fn hook(number: u8) -> Option<Hook> {
    Some(match number {
        1 => Hook::Interrupt,
        2 => Hook::NapiSchedule,
        3 => Hook::Softirq,
        4 => Hook::Poll,
        5 => Hook::Gro,
        6 => Hook::GroDone,
        7 => Hook::Backlog,
        8 => Hook::Receive,
        9 => Hook::Classify,
        10 => Hook::XdpGeneric,
        11 => Hook::Ip,
        12 => Hook::NfEnter,
        13 => Hook::NfLeave,
        14 => Hook::Deliver,
        15 => Hook::Forward,
        16 => Hook::Transport,
        17 => Hook::TransportDone,
        18 => Hook::TcpSocket,
        19 => Hook::TcpBacklog,
        20 => Hook::Queued,
        21 => Hook::Wakeup,
        22 => Hook::Copy,
        23 => Hook::Consume,
        24 => Hook::Drop,
        25 => Hook::Send,
        26 => Hook::SocketWrite,
        27 => Hook::TcpTransmit,
        28 => Hook::IpOutput,
        29 => Hook::Neighbour,
        30 => Hook::DevQueue,
        31 => Hook::QdiscEnqueue,
        32 => Hook::QdiscDequeue,
        33 => Hook::StartXmit,
        34 => Hook::XmitDone,
        _ => return None,
    })
}

const fn tag(number: u8) -> Option<Tag> {
    Some(match number {
        128 => Tag::Device,
        129 => Tag::Netns,
        130 => Tag::Pid,
        131 => Tag::Poll,
        132 => Tag::PollEnd,
        133 => Tag::Returned,
        134 => Tag::Received,
        135 => Tag::Receiver,
        _ => return None,
    })
}
