//! Which journeys belong together: clones, GRO, GSO, fragments.

use std::collections::VecDeque;

use super::flow::{same_addresses, sequence_length};
use super::model::{Flow, JourneyId};
use super::sockets::before;

/// Packets that GRO holds, and packets that were split, remembered for each CPU. Both last for
/// microseconds.
const KEPT: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Held {
    journey: JourneyId,
    flow: Flow,
    /// Where the next TCP segment would continue it.
    next: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    journey: JourneyId,
    flow: Flow,
}

#[derive(Default, Debug)]
struct Cpu {
    held: VecDeque<Held>,
    split: VecDeque<Split>,
}

/// What tells these headers from most others; 0 when they are not known.
pub(super) fn mark(flow: Option<&Flow>) -> u32 {
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

    /// GRO keeps this packet for others to be merged into (`GRO_HELD`).
    pub(super) fn hold(&mut self, cpu: u16, journey: JourneyId, flow: Flow) {
        let held = Held {
            journey,
            flow,
            next: next(&flow),
        };
        push(&mut self.cpu(cpu).held, held);
    }

    /// GRO merged this packet: the one it became part of. The last one held of the flow (GRO keeps one of
    /// each, `gro_list`) that this one continues.
    pub(super) fn merge(&mut self, cpu: u16, flow: &Flow) -> Option<JourneyId> {
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
    pub(super) fn split(&mut self, cpu: u16, journey: JourneyId, flow: Flow) {
        push(&mut self.cpu(cpu).split, Split { journey, flow });
    }

    /// A packet appeared in the middle of the way out: the one it was made from. `skb_segment` keeps
    /// addresses and counts the sequence numbers on; `ip_do_fragment` keeps the identification.
    pub(super) fn whole_of(&mut self, cpu: u16, flow: &Flow) -> Option<JourneyId> {
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
