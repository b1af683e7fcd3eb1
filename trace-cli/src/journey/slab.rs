//! Where open journeys live: slots that are used again, and a list through them from the one not heard of
//! for the longest time to the one heard of last.

use super::model::JourneyId;
use super::open::Open;
use super::places::Places;

pub(super) const NONE: u32 = u32::MAX;
/// The number of no journey: its slot is free.
const NOBODY: JourneyId = JourneyId(0);

/// A journey's slot, checked by its number: slots are used again, numbers never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ref {
    pub slot: u32,
    pub id: JourneyId,
}

#[derive(Debug)]
pub(super) struct Slab {
    slots: Vec<Open>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl Slab {
    pub(super) fn get(&self, at: Ref) -> Option<&Open> {
        let open = self.slots.get(at.slot as usize)?;
        (open.id == at.id).then_some(open)
    }

    pub(super) fn get_mut(&mut self, at: Ref) -> Option<&mut Open> {
        let open = self.slots.get_mut(at.slot as usize)?;
        (open.id == at.id).then_some(open)
    }

    /// The journey in a slot.
    pub(super) fn of_slot(&self, slot: u32) -> Option<Ref> {
        let id = self.slots.get(slot as usize)?.id;
        (id != NOBODY).then_some(Ref { slot, id })
    }

    /// Every journey, in the order of slots.
    pub(super) fn refs(&self) -> Vec<Ref> {
        let slots = self.slots.iter().zip(0u32..);
        let used = slots.filter(|(open, _)| open.id != NOBODY);
        used.map(|(open, slot)| Ref { slot, id: open.id }).collect()
    }

    pub(super) fn insert(&mut self, open: Open) -> Ref {
        let id = open.id;
        let free = self.free.pop();
        let slot = match free.and_then(|slot| Some((slot, self.slots.get_mut(slot as usize)?))) {
            Some((slot, place)) => {
                *place = open;
                slot
            }
            None => {
                self.slots.push(open);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        self.attach(slot);
        Ref { slot, id }
    }

    /// Takes a journey out of its slot, which is free then.
    pub(super) fn free(&mut self, at: Ref) {
        if self.get(at).is_none() {
            return;
        }
        self.detach(at.slot);
        if let Some(open) = self.at(at.slot) {
            open.id = NOBODY;
            open.stamps = Vec::new();
            open.places = Places::default();
            open.extra = None;
            self.free.push(at.slot);
        }
    }

    /// Something was heard of it.
    pub(super) fn touch(&mut self, at: Ref, now: u64) {
        let Some(open) = self.get_mut(at) else { return };
        open.heard = now;
        self.detach(at.slot);
        self.attach(at.slot);
    }

    /// The journey not heard of for the longest time that is in the list.
    pub(super) fn oldest(&self) -> Option<Ref> {
        let open = self.slots.get(self.oldest as usize)?;
        Some(Ref {
            slot: self.oldest,
            id: open.id,
        })
    }

    /// Takes a journey out of the list (it ended), but not out of its slot.
    pub(super) fn retire(&mut self, at: Ref) {
        if self.get(at).is_some() {
            self.detach(at.slot);
        }
    }

    fn at(&mut self, slot: u32) -> Option<&mut Open> {
        self.slots.get_mut(slot as usize)
    }

    fn attach(&mut self, slot: u32) {
        let newest = self.newest;
        if let Some(open) = self.at(slot) {
            open.older = newest;
            open.newer = NONE;
        }
        match self.at(newest) {
            Some(open) => open.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn detach(&mut self, slot: u32) {
        let Some(open) = self.at(slot) else { return };
        let (older, newer) = (open.older, open.newer);
        // Not in the list: a lone member is both its ends.
        if older == NONE && newer == NONE && self.newest != slot {
            return;
        }
        if let Some(open) = self.at(slot) {
            open.older = NONE;
            open.newer = NONE;
        }
        match self.at(older) {
            Some(open) => open.newer = newer,
            None => self.oldest = newer,
        }
        match self.at(newer) {
            Some(open) => open.older = older,
            None => self.newest = older,
        }
    }
}
