//! Which NAPI poll brought a packet. The poll's own record is written when it ends, after its packets'.

use crate::decode::PollRecord;

use super::model::Poll;
use super::slab::Ref;

/// Polls of one CPU that are remembered. Its packets' records are at most one poll away in order.
const KEPT: usize = 1024;
/// Packets of one poll that can wait for its record: many times `netdev_budget`.
const WAITING: usize = 4096;

#[derive(Clone, Default, Debug)]
struct Slot {
    number: u32,
    poll: Option<PollRecord>,
    waiting: Vec<(Ref, u8)>,
}

/// The last polls of each CPU.
#[derive(Default, Debug)]
pub(super) struct Polls(Vec<Vec<Slot>>);

impl Polls {
    fn slot(&mut self, cpu: u16, number: u32) -> Option<&mut Slot> {
        let cpu = usize::from(cpu);
        if self.0.len() <= cpu {
            self.0.resize_with(cpu + 1, Vec::new);
        }
        let slots = self.0.get_mut(cpu)?;
        let at = number as usize % KEPT;
        if slots.len() <= at {
            slots.resize_with(at + 1, Slot::default);
        }
        let slot = slots.get_mut(at)?;
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        Some(slot)
    }

    /// A packet of that poll: its record, if it came already.
    pub(super) fn of_packet(
        &mut self,
        cpu: u16,
        number: u32,
        journey: Ref,
        leg: u8,
    ) -> Option<Poll> {
        let slot = self.slot(cpu, number)?;
        if slot.poll.is_none() && slot.waiting.len() < WAITING {
            slot.waiting.push((journey, leg));
        }
        slot.poll.map(|p| poll(&p))
    }

    /// A poll's record: the packets that wait for it.
    pub(super) fn learn(&mut self, record: &PollRecord) -> Vec<(Ref, u8)> {
        let Some(slot) = self.slot(record.cpu, record.number) else {
            return Vec::new();
        };
        slot.poll = Some(*record);
        std::mem::take(&mut slot.waiting)
    }
}

/// As the model has it; the leg is the joiner's to fill in.
pub(super) fn poll(record: &PollRecord) -> Poll {
    Poll {
        leg: 0,
        cpu: record.cpu,
        work: record.work,
        budget: record.budget,
        ns: record.end.saturating_sub(record.start),
        ifindex: record.ifindex,
        irq: record.irq,
        softirq: record.softirq,
    }
}
