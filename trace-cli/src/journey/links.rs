//! Which journeys belong together: clones, GRO, GSO, fragments.

use std::collections::VecDeque;

use super::flow::{same_addresses, sequence_length};
use super::hash::{ByAddress, forget};
use super::model::Flow;
use super::slab::Ref;
use super::sockets::before;

/// Packets that GRO holds, and packets that were split, remembered for each CPU. Both last for
/// microseconds.
const KEPT: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Held {
    journey: Ref,
    flow: Flow,
    /// Where the next TCP segment would continue it.
    next: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    journey: Ref,
    flow: Flow,
}

#[derive(Default, Debug)]
struct Cpu {
    held: VecDeque<Held>,
    split: VecDeque<Split>,
}

/// The slot of a journey that has a buffer, and what tells its headers from most others: so the slot need not be looked at.
#[derive(Clone, Copy, Debug)]
struct Holder {
    slot: u32,
    mark: u32,
}

/// The same for the same headers; 0 when they are not known.
fn mark(flow: Option<&Flow>) -> u32 {
    let Some(flow) = flow else { return 0 };
    let ports = flow
        .ports
        .map_or(0, |(source, to)| u32::from(source) << 16 | u32::from(to));
    let tcp = flow
        .tcp
        .map_or(0, |tcp| tcp.seq ^ tcp.ack.rotate_left(11) ^ tcp.payload);
    (ports ^ tcp.rotate_left(7) ^ flow.ip_id.unwrap_or(0).rotate_left(19)) | 1
}

/// What is remembered to link journeys.
#[derive(Default, Debug)]
pub(super) struct Links {
    heads: ByAddress<u64, Holder>,
    cpus: Vec<Cpu>,
}

fn push<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() >= KEPT {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// The sequence number after a segment.
fn next(flow: &Flow) -> Option<u32> {
    flow.tcp
        .map(|tcp| tcp.seq.wrapping_add(sequence_length(&tcp)))
}

impl Links {
    fn cpu(&mut self, cpu: u16) -> &mut Cpu {
        let cpu = usize::from(cpu);
        if self.cpus.len() <= cpu {
            self.cpus.resize_with(cpu + 1, Cpu::default);
        }
        &mut self.cpus[cpu]
    }

    /// The slot of the journey whose data begins at `head`, where a packet with this `flow` now has its own; not one whose memory this
    /// must be anew: it has other headers, and the kernel does not say that it shares them.
    pub(super) fn holder(&self, head: u64, flow: Option<&Flow>, shared: bool) -> Option<u32> {
        let holder = self.heads.get(&head)?;
        let mark = mark(flow);
        let other = mark != 0 && holder.mark != 0 && mark != holder.mark;
        (shared || !other).then_some(holder.slot)
    }

    pub(super) fn set_holder(&mut self, head: u64, flow: Option<&Flow>, slot: u32) {
        if head != 0 {
            let mark = mark(flow);
            self.heads.insert(head, Holder { slot, mark });
        }
    }

    /// The slot's journey is no more.
    pub(super) fn forget_holder(&mut self, head: u64, slot: u32) {
        forget(&mut self.heads, head, |holder| holder.slot == slot);
    }

    /// GRO keeps this packet for others to be merged into (`GRO_HELD`).
    pub(super) fn hold(&mut self, cpu: u16, journey: Ref, flow: Flow) {
        let held = Held {
            journey,
            flow,
            next: next(&flow),
        };
        push(&mut self.cpu(cpu).held, held);
    }

    /// GRO merged this packet: the one it became part of. The last one held of the flow (GRO keeps one of
    /// each, `gro_list`) that this one continues.
    pub(super) fn merge(&mut self, cpu: u16, flow: &Flow) -> Option<Ref> {
        let held = &mut self.cpu(cpu).held;
        let seq = flow.tcp.map(|tcp| tcp.seq);
        let into = held.iter_mut().rev().find(|h| {
            same_addresses(&h.flow, flow)
                && match (h.flow.tcp, seq) {
                    (Some(first), Some(seq)) => !before(seq, first.seq),
                    _ => true,
                }
        })?;
        into.next = next(flow);
        Some(into.journey)
    }

    /// The kernel freed this packet on its way out: others may have been made from it.
    pub(super) fn split(&mut self, cpu: u16, journey: Ref, flow: Flow) {
        push(&mut self.cpu(cpu).split, Split { journey, flow });
    }

    /// A packet appeared in the middle of the way out: the one it was made from. `skb_segment` keeps
    /// addresses and counts the sequence numbers on; `ip_do_fragment` keeps the identification.
    pub(super) fn whole_of(&mut self, cpu: u16, flow: &Flow) -> Option<Ref> {
        let split = &self.cpu(cpu).split;
        let whole = split.iter().rev().find(|s| {
            let inside = match (s.flow.tcp, flow.tcp) {
                (Some(all), Some(part)) => part.seq.wrapping_sub(all.seq) < all.payload,
                _ => true,
            };
            let part = flow.fragment.is_some()
                && match (s.flow.ip_id, flow.ip_id) {
                    (Some(x), Some(y)) if x != 0 && y != 0 => x == y,
                    _ => true,
                };
            same_addresses(&s.flow, flow) && inside && (flow.fragment.is_none() || part)
        })?;
        Some(whole.journey)
    }
}
