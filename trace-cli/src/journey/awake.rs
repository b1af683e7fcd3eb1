//! Journeys as they are worked with, in places that are used again.

use std::hint::black_box;

use super::open::{Open, Stamp};

/// The place of no journey.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Empty lists of stamps that are kept.
const SPARE: usize = 4096;

/// Those that are awake (see [`super::slab`]).
#[derive(Default, Debug)]
pub(super) struct Awake {
    places: Vec<Open>,
    free: Vec<u32>,
    /// Memory of journeys that left, for new ones.
    spare: Vec<Vec<Stamp>>,
}

/// A part of a journey that is awake; the first says where the second lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Itself,
    Stamps,
}

impl Awake {
    pub(super) fn get(&self, place: u32) -> Option<&Open> {
        self.places.get(place as usize)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Open> {
        self.places.get_mut(place as usize)
    }

    pub(super) fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The most there ever were.
    #[cfg(test)]
    pub(super) fn most(&self) -> usize {
        self.places.len()
    }

    /// Memory for a new journey's stamps, if there is some.
    pub(super) fn spare(&mut self) -> Option<Vec<Stamp>> {
        self.spare.pop()
    }

    /// Takes a journey: its place.
    pub(super) fn enter(&mut self, open: Open) -> u32 {
        let free = self.free.pop();
        match free.and_then(|place| Some((place, self.get_mut(place)?))) {
            Some((place, room)) => {
                *room = open;
                place
            }
            None => {
                self.places.push(open);
                u32::try_from(self.places.len() - 1).unwrap_or(NOWHERE)
            }
        }
    }

    /// Clears the place of a journey, if there is one.
    pub(super) fn leave(&mut self, place: u32) {
        let Some(open) = self.get_mut(place) else {
            return;
        };
        let mut stamps = open.leave();
        if self.spare.len() < SPARE {
            stamps.clear();
            self.spare.push(stamps);
        }
        self.free.push(place);
    }

    /// Reads a part of a journey that will be needed soon: the processor goes on meanwhile, and its caches have it then.
    pub(super) fn read_ahead(&self, place: u32, part: Part) {
        let Some(open) = self.get(place) else { return };
        match part {
            Part::Itself => {
                black_box((open.leg, open.sk_in, open.flow.is_some(), open.len));
            }
            Part::Stamps => {
                black_box((open.stamps.first().copied(), open.stamps.last().copied()));
            }
        }
    }
}
