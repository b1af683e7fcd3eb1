//! Where a journey was. Nearly all are in few places, which lie in the journey itself.

/// A network namespace and an interface in it; 0 where not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub netns: u32,
    pub ifindex: u32,
}

/// Index of no place.
pub(super) const NOWHERE: u8 = u8::MAX;
/// Most places of a journey; beyond, the last one stands for all that come.
const LIMIT: u8 = NOWHERE;
/// A packet over veth: without a device yet, at the one end, at the other.
const FEW: usize = 3;

/// A journey's places, each once, in the order in which it came to them.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Places {
    few: [Place; FEW],
    count: u8,
    #[expect(clippy::box_collection, reason = "few have it, all pay for its room")]
    more: Option<Box<Vec<Place>>>,
}

impl Places {
    /// The first place, unknown if there is none.
    pub(super) fn first(&self) -> Place {
        self.few[0]
    }

    /// How many there are.
    pub(super) fn count(&self) -> u8 {
        self.count
    }

    /// The place with this index, unknown if there is none.
    pub(super) fn get(&self, at: u8) -> Place {
        let at = usize::from(at);
        let more = || self.more.as_ref()?.get(at - FEW);
        let place = self.few.get(at).or_else(more);
        place.copied().unwrap_or_default()
    }

    /// A place's index, which it gets now if it has none.
    pub(super) fn index(&mut self, place: Place) -> u8 {
        if let Some(at) = (0..self.count).rev().find(|&at| self.get(at) == place) {
            return at;
        }
        if self.count == LIMIT {
            return LIMIT - 1;
        }
        match self.few.get_mut(usize::from(self.count)) {
            Some(free) => *free = place,
            None => self.more.get_or_insert_default().push(place),
        }
        self.count += 1;
        self.count - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(ifindex: u32) -> Place {
        Place { netns: 1, ifindex }
    }

    #[test]
    fn each_place_has_one_index() {
        let mut places = Places::default();
        assert_eq!((places.first(), places.get(NOWHERE)), Default::default());
        for round in 0..2 {
            for at in 0..LIMIT {
                assert_eq!(places.index(place(at.into())), at, "round {round}");
            }
        }
        assert_eq!(places.index(place(1000)), LIMIT - 1);
        assert_eq!(places.first(), place(0));
        for at in 0..LIMIT {
            assert_eq!(places.get(at), place(at.into()));
        }
        assert_eq!(places.get(NOWHERE), Place::default());
    }
}
