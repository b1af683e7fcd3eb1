//! Where open journeys live: slots that are used again, found by the addresses of their sk_buffs and of those' data, and a list
//! through them from the one not heard of for the longest time to the one heard of last.
//!
//! When very many are [awake](super::awake), those of which nothing is heard any more [fall asleep](Slab::rest): they take a quarter
//! of the room then ([`super::asleep`]), and wake when somebody wants to [change](Slab::get_mut) them.

use super::asleep;
use super::awake::{Awake, NOWHERE, Part};
use super::hash::SlotsByAddress;
use super::model::JourneyId;
use super::open::{Open, Side, Stamp};

/// No slot.
const NONE: u32 = u32::MAX;

/// A journey's slot, checked by its number: slots are used again, numbers never, or after four milliards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ref {
    pub slot: u32,
    /// The number's lower half.
    pub id: u32,
}

/// Free when nobody is in it, awake or asleep. All that is asked of a journey without looking at it, in one line of a cache.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    id: u32,
    /// Its place in [`Slab::awake`].
    awake: u32,
    asleep: Option<Box<[u8]>>,
    /// When something was last heard of it, in stream time, and its neighbours in this order.
    heard: u64,
    older: u32,
    newer: u32,
    skb: u64,
    head: u64,
    /// The same for the same headers, and not for most others; 0 when they are not known.
    mark: u32,
}

#[derive(Debug)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The journey that has an sk_buff's address, or had it last.
    by_skb: SlotsByAddress,
    /// The first one that is open of those whose data begins at an address, or was.
    by_head: SlotsByAddress,
    awake: Awake,
    oldest: u32,
    newest: u32,
    /// The oldest in the list that may still [fall asleep](Self::rest).
    drowsy: u32,
    /// Memory of a journey that is being packed.
    bytes: Vec<u8>,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_skb: SlotsByAddress::default(),
            by_head: SlotsByAddress::default(),
            awake: Awake::default(),
            oldest: NONE,
            newest: NONE,
            drowsy: NONE,
            bytes: Vec::new(),
        }
    }
}

impl Slab {
    /// A journey that is awake: one that was got with [`get_mut`](Self::get_mut) before.
    pub(super) fn get(&self, at: Ref) -> Option<&Open> {
        let slot = self.slots.get(at.slot as usize)?;
        if slot.id != at.id {
            return None;
        }
        debug_assert!(slot.asleep.is_none(), "{at:?} is asleep");
        self.awake.get(slot.awake)
    }

    /// A journey, which is awake then.
    pub(super) fn get_mut(&mut self, at: Ref) -> Option<&mut Open> {
        let slot = self.slots.get(at.slot as usize)?;
        if slot.id != at.id {
            return None;
        }
        let mut awake = slot.awake;
        if awake == NOWHERE {
            awake = self.wake(at.slot)?;
        }
        self.awake.get_mut(awake)
    }

    /// Whether there still is this journey.
    pub(super) fn has(&self, at: Ref) -> bool {
        self.slot(at).is_some()
    }

    /// When something was last heard of it.
    pub(super) fn heard(&self, at: Ref) -> Option<u64> {
        self.slot(at).map(|slot| slot.heard)
    }

    /// Its sk_buff's address.
    pub(super) fn skb(&self, at: Ref) -> Option<u64> {
        self.slot(at).map(|slot| slot.skb)
    }

    /// The journey that has this sk_buff's address, or had it last.
    pub(super) fn of_skb(&self, skb: u64) -> Option<Ref> {
        self.in_slot(self.by_skb.find(skb, skb_in(&self.slots))?)
    }

    /// The journey whose data begins at `head`, where a packet with these headers now has its own; not one whose memory this must be
    /// anew: it has other headers, and the kernel does not say that it shares them.
    pub(super) fn of_head(&self, head: u64, mark: u32, shared: bool) -> Option<Ref> {
        let slot = self.by_head.find(head, head_in(&self.slots))?;
        let known = self.slots.get(slot as usize)?.mark;
        let other = mark != 0 && known != 0 && mark != known;
        self.in_slot(slot).filter(|_| shared || !other)
    }

    /// Every journey, in the order of slots.
    pub(super) fn refs(&self) -> Vec<Ref> {
        let slots = 0..u32::try_from(self.slots.len()).unwrap_or(NONE);
        let all = slots.filter_map(|slot| self.in_slot(slot));
        all.filter(|&at| self.has(at)).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
            && self.awake.count() == 0
            && self.by_skb.is_empty()
            && self.by_head.is_empty()
    }

    /// The most that ever were awake.
    #[cfg(test)]
    pub(super) fn most_awake(&self) -> usize {
        self.awake.most()
    }

    /// Memory for a new journey's stamps, if there is some.
    pub(super) fn spare(&mut self) -> Option<Vec<Stamp>> {
        self.awake.spare()
    }

    /// Takes a journey that something is heard of now; from now on it is the one that has this sk_buff's address.
    pub(super) fn insert(&mut self, open: Open, skb: u64, mark: u32, now: u64) -> Ref {
        let id = open.id.0 as u32;
        let taken = Slot {
            id,
            head: open.head,
            awake: self.awake.enter(open),
            asleep: None,
            heard: now,
            older: NONE,
            newer: NONE,
            skb,
            mark,
        };
        let free = self.free.pop();
        let slot = match free.and_then(|slot| Some((slot, self.at(slot)?))) {
            Some((slot, place)) => {
                *place = taken;
                slot
            }
            None => {
                self.slots.push(taken);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        self.by_skb.put(slot, skb, skb_in(&self.slots));
        self.attach(slot, now);
        Ref { slot, id }
    }

    /// From now on it is the journey that has its data's address, if that is known.
    pub(super) fn hold_head(&mut self, at: Ref) {
        if let Some(&Slot { head, .. }) = self.slot(at)
            && head != 0
        {
            self.by_head.put(at.slot, head, head_in(&self.slots));
        }
    }

    /// Takes a journey out of its slot, which is free then.
    pub(super) fn free(&mut self, at: Ref) {
        let Some(&Slot {
            awake, skb, head, ..
        }) = self.slot(at)
        else {
            return;
        };
        self.by_skb.remove(at.slot, skb, skb_in(&self.slots));
        self.by_head.remove(at.slot, head, head_in(&self.slots));
        self.detach(at.slot);
        if let Some(slot) = self.at(at.slot) {
            slot.awake = NOWHERE;
            slot.asleep = None;
        }
        self.awake.leave(awake);
        self.free.push(at.slot);
    }

    /// Something was heard of it.
    pub(super) fn touch(&mut self, at: Ref, now: u64) {
        if self.has(at) {
            self.detach(at.slot);
            self.attach(at.slot, now);
        }
    }

    /// The journey not heard of for the longest time that is in the list.
    pub(super) fn oldest(&self) -> Option<Ref> {
        self.in_slot(self.oldest)
    }

    /// When something was last heard of that one.
    pub(super) fn oldest_heard(&self) -> Option<u64> {
        Some(self.slots.get(self.oldest as usize)?.heard)
    }

    /// Takes a journey out of the list (it ended), but not out of its slot.
    pub(super) fn retire(&mut self, at: Ref) {
        if self.has(at) {
            self.detach(at.slot);
        }
    }

    /// Those in the list of which nothing was heard since `before` fall asleep, if more than `most` are awake. Not the oldest ones: to
    /// pack a journey is quick while caches hold it.
    pub(super) fn rest(&mut self, before: u64, most: usize) {
        while let Some(slot) = self.slots.get(self.drowsy as usize)
            && slot.heard < before
        {
            let newer = slot.newer;
            if self.awake.count() > most {
                self.fall_asleep(self.drowsy);
            }
            self.drowsy = newer;
        }
    }

    /// A journey will be needed soon: reads its slot, or what is in it, which takes a while where no cache has it, and which nothing
    /// waits for.
    pub(super) fn read_ahead(&self, at: Ref, part: Option<Part>) {
        let Some(slot) = self.slots.get(at.slot as usize) else {
            return;
        };
        match part {
            Some(part) => self.awake.read_ahead(slot.awake, part),
            None => {
                std::hint::black_box(slot.awake);
            }
        }
    }

    fn slot(&self, at: Ref) -> Option<&Slot> {
        let slot = self.slots.get(at.slot as usize)?;
        let used = slot.awake != NOWHERE || slot.asleep.is_some();
        (slot.id == at.id && used).then_some(slot)
    }

    fn at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    /// The journey in a slot that is known to be used.
    fn in_slot(&self, slot: u32) -> Option<Ref> {
        let id = self.slots.get(slot as usize)?.id;
        Some(Ref { slot, id })
    }

    fn fall_asleep(&mut self, slot: u32) {
        let Some(slot) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let open = self.awake.get_mut(slot.awake);
        let Some(open) = open.filter(|open| asleep::can_sleep(open)) else {
            return;
        };
        self.bytes.clear();
        asleep::pack(open, &mut self.bytes);
        debug_assert_eq!(asleep::unpack(&self.bytes, slot.blank(Vec::new())), *open);
        slot.asleep = Some(Box::from(self.bytes.as_slice()));
        self.awake
            .leave(std::mem::replace(&mut slot.awake, NOWHERE));
    }

    #[cold]
    fn wake(&mut self, slot: u32) -> Option<u32> {
        let sleeper = self.slots.get_mut(slot as usize)?;
        let bytes = sleeper.asleep.take()?;
        let stamps = self.awake.spare().unwrap_or_default();
        let open = asleep::unpack(&bytes, sleeper.blank(stamps));
        sleeper.awake = self.awake.enter(open);
        Some(sleeper.awake)
    }

    fn attach(&mut self, slot: u32, now: u64) {
        let newest = self.newest;
        if let Some(member) = self.at(slot) {
            member.heard = now;
            member.older = newest;
            member.newer = NONE;
        }
        match self.at(newest) {
            Some(member) => member.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
        if self.drowsy == NONE {
            self.drowsy = slot;
        }
    }

    fn detach(&mut self, slot: u32) {
        let newest = self.newest;
        let Some(member) = self.at(slot) else { return };
        let (older, newer) = (member.older, member.newer);
        // Not in the list: a lone member is both its ends.
        if older == NONE && newer == NONE && newest != slot {
            return;
        }
        member.older = NONE;
        member.newer = NONE;
        match self.at(older) {
            Some(member) => member.newer = newer,
            None => self.oldest = newer,
        }
        match self.at(newer) {
            Some(member) => member.older = older,
            None => self.newest = older,
        }
        if self.drowsy == slot {
            self.drowsy = newer;
        }
    }
}

impl Slot {
    /// The journey in it, of which nothing else is known yet.
    fn blank(&self, stamps: Vec<Stamp>) -> Open {
        Open {
            head: self.head,
            ..Open::new(JourneyId(0), Side::Receive, stamps)
        }
    }
}

fn skb_in(slots: &[Slot]) -> impl Fn(u32) -> u64 {
    |slot| slots.get(slot as usize).map_or(0, |slot| slot.skb)
}

fn head_in(slots: &[Slot]) -> impl Fn(u32) -> u64 {
    |slot| slots.get(slot as usize).map_or(0, |slot| slot.head)
}
