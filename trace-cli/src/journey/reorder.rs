//! The hold window: puts the records of all rings into one order.
//!
//! Each CPU has its own ring, and a slot is sent when its packet is handed over or swept, so the parts of
//! one packet arrive in any order. They are held until no older one can come any more, and then given
//! on by (time, cpu, arrival). Records lie in buckets of about a millisecond, which are sorted as a
//! whole once they are due: that is cheaper than a heap, and nothing is moved but sort keys.

use std::collections::BTreeMap;

use trace_ebpf::{MAX_CPUS, SegmentHead};

use crate::decode::{DropRecord, PollRecord, Segment, SocketRecord, Tags};

/// Bucket number = time >> SHIFT.
const SHIFT: u32 = 20;
const BUCKET_NS: u64 = 1 << SHIFT;

/// The start of no bucket.
const NOWHERE: u64 = u64::MAX;

/// Empty buckets that are kept, each grown to what the busiest millisecond had: a tick takes about ten.
const SPARE: usize = 16;

/// A record that is not a segment.
#[derive(Debug)]
pub(super) enum Event {
    Drop(DropRecord),
    Socket(SocketRecord),
    Poll(PollRecord),
}

/// The records of about a millisecond. Segments, which are nearly all of them, lie without the room that they do not
/// use: what waits here is most of the assembler's memory, and no cache holds it.
#[derive(Default, Debug)]
pub(super) struct Bucket {
    /// A multiple of [`BUCKET_NS`].
    start: u64,
    /// See [`key`].
    keys: Vec<u64>,
    held: Vec<Held>,
    /// Of each segment its packet's first bytes, and its entries.
    bytes: Vec<u8>,
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
enum Held {
    Segment {
        head: SegmentHead,
        tags: Tags,
        /// Where it begins in `bytes`.
        at: u32,
        /// Bytes of its packet, and of its entries behind them.
        packet: u8,
        entries: u16,
    },
    /// Its place in `events`.
    Event(u32),
}

impl Bucket {
    fn hold(&mut self, time: u64, cpu: u16, held: Held) {
        self.keys.push(key(time, cpu, place(self.held.len())));
        self.held.push(held);
    }

    /// Calls for every record with its time, in order.
    pub(super) fn for_each(&mut self, mut call: impl FnMut(u64, Due<'_>)) {
        self.keys.sort_unstable();
        for &key in &self.keys {
            let time = self.start + (key >> TIME_FROM);
            match self.held.get(key as u32 as usize) {
                Some(Held::Segment {
                    head,
                    tags,
                    at,
                    packet,
                    entries,
                }) => {
                    let (packet, entries) = (usize::from(*packet), usize::from(*entries));
                    let bytes = self.bytes.get(*at as usize..).unwrap_or(&[]);
                    let (packet, rest) = bytes.split_at(packet.min(bytes.len()));
                    let entries = rest.get(..entries).unwrap_or(&[]);
                    call(
                        time,
                        Due::Segment(Segment::new(head, *tags, packet, entries)),
                    );
                }
                Some(&Held::Event(place)) => {
                    if let Some(event) = self.events.get(place as usize) {
                        call(time, Due::Event(event));
                    }
                }
                None => {}
            }
        }
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.held.clear();
        self.bytes.clear();
        self.events.clear();
    }
}

/// A record whose turn it is.
pub(super) enum Due<'a> {
    Segment(Segment<'a>),
    Event(&'a Event),
}

/// By what a bucket's records are ordered, as one number: time in the bucket, CPU, and place in [`Bucket::held`], which is
/// the order of arrival.
const fn key(time: u64, cpu: u16, place: u32) -> u64 {
    (time & (BUCKET_NS - 1)) << TIME_FROM | (cpu as u64) << CPU_FROM | place as u64
}

const CPU_FROM: u32 = 32;
const TIME_FROM: u32 = u64::BITS - SHIFT;
const _: () = assert!(MAX_CPUS <= 1 << (TIME_FROM - CPU_FROM));

/// An index as it is kept: no bucket has four milliards of anything.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Records that wait for older ones.
#[derive(Debug)]
pub(super) struct Hold {
    /// By their start, but for the one that took the last record.
    buckets: BTreeMap<u64, Bucket>,
    filling: Bucket,
    spare: Vec<Bucket>,
    count: usize,
    limit: usize,
}

impl Hold {
    /// Holds at most `limit` records; beyond, the oldest are due early.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buckets: BTreeMap::new(),
            filling: Bucket {
                start: NOWHERE,
                ..Bucket::default()
            },
            spare: Vec::new(),
            count: 0,
            limit,
        }
    }

    /// Holds a segment whose place in the order is `time`.
    pub(super) fn segment(&mut self, time: u64, segment: &Segment<'_>) {
        let bucket = self.bucket(time);
        let (packet, entries) = (segment.packet.unwrap_or(&[]), segment.entries());
        let entries = entries.as_flattened();
        let held = Held::Segment {
            head: segment.head(),
            tags: segment.tags,
            at: place(bucket.bytes.len()),
            packet: u8::try_from(packet.len()).unwrap_or(u8::MAX),
            entries: u16::try_from(entries.len()).unwrap_or(u16::MAX),
        };
        bucket.bytes.extend_from_slice(packet);
        bucket.bytes.extend_from_slice(entries);
        bucket.hold(time, segment.cpu, held);
    }

    /// Holds any other record.
    pub(super) fn event(&mut self, time: u64, cpu: u16, event: Event) {
        let bucket = self.bucket(time);
        bucket.events.push(event);
        bucket.hold(time, cpu, Held::Event(place(bucket.events.len() - 1)));
    }

    /// Where a record of this time goes; one will.
    fn bucket(&mut self, time: u64) -> &mut Bucket {
        self.count += 1;
        let start = Self::horizon(time);
        if self.filling.start != start {
            self.put_aside();
            let spare = &mut self.spare;
            let found = self.buckets.remove(&start);
            self.filling = found.unwrap_or_else(|| spare.pop().unwrap_or_default());
            self.filling.start = start;
        }
        &mut self.filling
    }

    /// Puts the bucket that took the last record among the others.
    fn put_aside(&mut self) {
        if !self.filling.held.is_empty() {
            let full = std::mem::take(&mut self.filling);
            self.filling.start = NOWHERE;
            self.buckets.insert(full.start, full);
        }
    }

    pub(super) fn is_over_full(&self) -> bool {
        self.count > self.limit
    }

    /// The end of the last bucket that lies before `time` as a whole: everything up to there is due.
    pub(super) const fn horizon(time: u64) -> u64 {
        time & !(BUCKET_NS - 1)
    }

    /// The oldest bucket's records, if all of it is older than `before`.
    pub(super) fn take(&mut self, before: u64) -> Option<Bucket> {
        self.put_aside();
        let (&start, _) = self.buckets.first_key_value()?;
        if start >= Self::horizon(before) {
            return None;
        }
        self.take_oldest()
    }

    /// The oldest bucket's records.
    pub(super) fn take_oldest(&mut self) -> Option<Bucket> {
        self.put_aside();
        let (_, bucket) = self.buckets.pop_first()?;
        self.count -= bucket.held.len();
        Some(bucket)
    }

    /// Gives a bucket's memory back, for the next one.
    pub(super) fn give_back(&mut self, mut bucket: Bucket) {
        bucket.clear();
        if self.spare.len() < SPARE {
            self.spare.push(bucket);
        }
    }
}
