//! Where open journeys live: slots that are used again, found by the addresses of their sk_buffs and of those' data, and a list
//! through them from the one not heard of for the longest time to the one heard of last.
//!
//! When very many are awake, those of which nothing is heard any more [fall asleep](Slab::rest): they take a third of the room
//! then ([`super::asleep`]), and wake when somebody wants to [change](Slab::get_mut) them.

use std::hint::black_box;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::asleep;
use super::hash::hash;
use super::model::JourneyId;
use super::open::{Open, Side, Stamp};

const NONE: u32 = u32::MAX;
/// Empty lists of stamps that are kept.
const SPARE: usize = 4096;

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
    /// Place in [`Slab::awake`].
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

/// A part of a journey. Each says where the next one lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Slot,
    Journey,
    Stamps,
}

/// Slots by an address in them.
type ByAddress = HashTable<u32>;

#[derive(Debug)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The journey that has an sk_buff's address, or had it last.
    by_skb: ByAddress,
    /// The first one that is open of those whose data begins at an address, or was.
    by_head: ByAddress,
    awake: Vec<Open>,
    free_awake: Vec<u32>,
    oldest: u32,
    newest: u32,
    /// The oldest in the list that may still [fall asleep](Self::rest).
    drowsy: u32,
    /// Memory of journeys that are gone or asleep, for new ones.
    spare: Vec<Vec<Stamp>>,
    /// … and of bytes that are being written.
    bytes: Vec<u8>,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_skb: ByAddress::new(),
            by_head: ByAddress::new(),
            awake: Vec::new(),
            free_awake: Vec::new(),
            oldest: NONE,
            newest: NONE,
            drowsy: NONE,
            spare: Vec::new(),
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
        self.awake.get(slot.awake as usize)
    }

    /// A journey, which is awake then.
    pub(super) fn get_mut(&mut self, at: Ref) -> Option<&mut Open> {
        let slot = self.slots.get_mut(at.slot as usize)?;
        if slot.id != at.id {
            return None;
        }
        let mut awake = slot.awake;
        if awake == NONE {
            awake = self.wake(at.slot)?;
        }
        self.awake.get_mut(awake as usize)
    }

    /// Reads a part of a journey that will be needed soon: the processor goes on meanwhile, and its caches have it then.
    pub(super) fn read_ahead(&self, at: Ref, part: Part) {
        let slot = self.slots.get(at.slot as usize);
        let open = || self.awake.get(slot?.awake as usize);
        match part {
            Part::Slot => drop(black_box(slot.map(|slot| slot.id))),
            Part::Journey => drop(black_box(
                open().map(|o| (o.leg, o.sk_in, o.flow.is_some(), o.len)),
            )),
            Part::Stamps => {
                let ends = |o: &Open| (o.stamps.first().copied(), o.stamps.last().copied());
                black_box(open().map(ends));
            }
        }
    }

    /// Whether there still is this journey.
    pub(super) fn has(&self, at: Ref) -> bool {
        self.slot(at).is_some()
    }

    /// The journey that has this sk_buff's address, or had it last.
    pub(super) fn of_skb(&self, skb: u64) -> Option<Ref> {
        self.find(&self.by_skb, skb, |slot| slot.skb)
    }

    /// The journey whose data begins at `head`, where a packet with these headers now has its own; not one whose memory this must be
    /// anew: it has other headers, and the kernel does not say that it shares them.
    pub(super) fn of_head(&self, head: u64, mark: u32, shared: bool) -> Option<Ref> {
        let at = self.find(&self.by_head, head, |slot| slot.head)?;
        let known = self.slots.get(at.slot as usize)?.mark;
        let other = mark != 0 && known != 0 && mark != known;
        (shared || !other).then_some(at)
    }

    /// Every journey, in the order of slots.
    pub(super) fn refs(&self) -> Vec<Ref> {
        let slots = self.slots.iter().zip(0..);
        let used = slots.filter(|(slot, _)| slot.is_used());
        used.map(|(&Slot { id, .. }, slot)| Ref { slot, id })
            .collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
            && self.free_awake.len() == self.awake.len()
            && self.by_skb.is_empty()
            && self.by_head.is_empty()
    }

    /// Takes a journey that something is heard of now; from now on it is the one that has this sk_buff's address.
    pub(super) fn insert(&mut self, open: Open, skb: u64, mark: u32, now: u64) -> Ref {
        let (id, head) = (open.id.0 as u32, open.head);
        let taken = Slot {
            id,
            awake: self.get_up(open),
            asleep: None,
            heard: 0,
            older: NONE,
            newer: NONE,
            skb,
            head,
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
                last(self.slots.len())
            }
        };
        let Self { slots, by_skb, .. } = self;
        put(by_skb, slots, slot, skb, |slot| slot.skb);
        self.attach(slot, now);
        Ref { slot, id }
    }

    /// From now on it is the journey that has its data's address, if that is known.
    pub(super) fn hold_head(&mut self, at: Ref) {
        let Self { slots, by_head, .. } = self;
        let head = slots.get(at.slot as usize).map_or(0, |slot| slot.head);
        if head != 0 {
            put(by_head, slots, at.slot, head, |slot| slot.head);
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
        let Self {
            slots,
            by_skb,
            by_head,
            ..
        } = self;
        remove(by_skb, slots, at.slot, skb, |slot| slot.skb);
        remove(by_head, slots, at.slot, head, |slot| slot.head);
        self.detach(at.slot);
        if let Some(slot) = self.at(at.slot) {
            slot.awake = NONE;
            slot.asleep = None;
        }
        self.clear(awake);
        self.free.push(at.slot);
    }

    /// Memory for a new journey's stamps, if there is some.
    pub(super) fn spare(&mut self) -> Option<Vec<Stamp>> {
        self.spare.pop()
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
        let slot = self.oldest;
        let id = self.slots.get(slot as usize)?.id;
        Some(Ref { slot, id })
    }

    /// When something was last heard of that one.
    pub(super) fn oldest_heard(&self) -> Option<u64> {
        Some(self.slots.get(self.oldest as usize)?.heard)
    }

    /// When something was last heard of a journey.
    pub(super) fn heard(&self, at: Ref) -> Option<u64> {
        self.slot(at).map(|slot| slot.heard)
    }

    /// Its sk_buff's address.
    pub(super) fn skb(&self, at: Ref) -> Option<u64> {
        self.slot(at).map(|slot| slot.skb)
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
            if self.awake.len() - self.free_awake.len() > most {
                self.fall_asleep(self.drowsy);
            }
            self.drowsy = newer;
        }
    }

    fn slot(&self, at: Ref) -> Option<&Slot> {
        let slot = self.slots.get(at.slot as usize)?;
        (slot.id == at.id && slot.is_used()).then_some(slot)
    }

    fn fall_asleep(&mut self, slot: u32) {
        let (slots, awake) = (&mut self.slots, &mut self.awake);
        let Some(slot) = slots.get_mut(slot as usize) else {
            return;
        };
        let Some(open) = awake.get_mut(slot.awake as usize) else {
            return;
        };
        if !asleep::can_sleep(open) {
            return;
        }
        self.bytes.clear();
        asleep::pack(open, &mut self.bytes);
        debug_assert_eq!(asleep::unpack(&self.bytes, slot.blank(Vec::new())), *open);
        slot.asleep = Some(Box::from(self.bytes.as_slice()));
        let left = std::mem::replace(&mut slot.awake, NONE);
        self.clear(left);
    }

    #[cold]
    fn wake(&mut self, slot: u32) -> Option<u32> {
        let stamps = self.spare().unwrap_or_default();
        let sleeper = self.at(slot)?;
        let bytes = sleeper.asleep.take()?;
        let open = asleep::unpack(&bytes, sleeper.blank(stamps));
        let awake = self.get_up(open);
        self.at(slot)?.awake = awake;
        Some(awake)
    }

    /// Takes a journey among those that are awake.
    fn get_up(&mut self, open: Open) -> u32 {
        let free = self.free_awake.pop();
        match free.and_then(|free| Some((free, self.awake.get_mut(free as usize)?))) {
            Some((free, place)) => {
                *place = open;
                free
            }
            None => {
                self.awake.push(open);
                last(self.awake.len())
            }
        }
    }

    /// Clears a place among those that are awake.
    fn clear(&mut self, awake: u32) {
        let Some(open) = self.awake.get_mut(awake as usize) else {
            return;
        };
        let mut stamps = open.leave();
        if self.spare.len() < SPARE {
            stamps.clear();
            self.spare.push(stamps);
        }
        self.free_awake.push(awake);
    }

    fn find(&self, table: &ByAddress, address: u64, of: impl Fn(&Slot) -> u64) -> Option<Ref> {
        let has = |slot: &u32| {
            self.slots
                .get(*slot as usize)
                .is_some_and(|s| of(s) == address)
        };
        let &slot = table.find(hash(address), has)?;
        let id = self.slots.get(slot as usize)?.id;
        Some(Ref { slot, id })
    }

    fn at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
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
    const fn is_used(&self) -> bool {
        self.awake != NONE || self.asleep.is_some()
    }

    /// The journey in it, of which nothing else is known yet.
    fn blank(&self, stamps: Vec<Stamp>) -> Open {
        Open {
            head: self.head,
            ..Open::new(JourneyId(0), Side::Receive, stamps)
        }
    }
}

/// Makes `slot` the one that has an address, in place of another one.
fn put(table: &mut ByAddress, slots: &[Slot], slot: u32, address: u64, of: impl Fn(&Slot) -> u64) {
    match entry(table, slots, address, of) {
        Entry::Occupied(mut before) => *before.get_mut() = slot,
        Entry::Vacant(free) => {
            free.insert(slot);
        }
    }
}

/// Removes an address, if `slot` has it.
fn remove(
    table: &mut ByAddress,
    slots: &[Slot],
    slot: u32,
    address: u64,
    of: impl Fn(&Slot) -> u64,
) {
    if let Entry::Occupied(known) = entry(table, slots, address, of)
        && *known.get() == slot
    {
        known.remove();
    }
}

fn entry<'a>(
    table: &'a mut ByAddress,
    slots: &[Slot],
    address: u64,
    of: impl Fn(&Slot) -> u64,
) -> Entry<'a, u32> {
    let of = |&slot: &u32| slots.get(slot as usize).map_or(0, &of);
    table.entry(
        hash(address),
        |slot| of(slot) == address,
        |slot| hash(of(slot)),
    )
}

/// The index of the last of so many.
fn last(count: usize) -> u32 {
    u32::try_from(count - 1).unwrap_or(NONE)
}
