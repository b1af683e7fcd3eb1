//! What timelines have in common.
//!
//! Which of a journey's stamps count, what the spans between them are called and which of those are gaps, is decided by the order of
//! its stamps; not by how much time lies between them, nor by whose packet it is. And packets take few ways through a kernel. So
//! for each that is worked out once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::hash::AddressHasher;
use super::model::{Outcome, Stage};
use super::open::{Open, Stamp};
use super::point::Point;

/// Ways that are kept; a host's traffic takes a few dozen.
const MOST: usize = 1024;

/// All that decides a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Course([u64; COURSE / 8]);

/// Bytes of a course: what kind of packet it is, then one for each stamp.
const COURSE: usize = 32;
const LEG: u8 = 1 << 6;
const READER: u8 = 1 << 7;
const _: () = assert!((Point::Drop as u8) + 1 < LEG);

impl Course {
    /// Of a journey with these stamps. None if there are none or too many, if legs overlap, for then times decide, too, or if they are not
    /// in order or go beyond the journey's end.
    pub(super) fn of(open: &Open, stamps: &[Stamp]) -> Option<Self> {
        let mut bytes = [0; COURSE];
        let (kind, rest) = bytes.split_first_mut()?;
        *kind = u8::from(open.is_bare_tcp())
            | u8::from(open.is_tcp()) << 1
            | u8::from(open.flow.is_some()) << 2
            | u8::from(open.outcome() == Some(Outcome::Delivered)) << 3
            | u8::from(open.outcome() == Some(Outcome::Consumed)) << 4;
        let mut before = stamps.first().filter(|_| stamps.len() <= rest.len())?;
        if stamps.last()?.time > open.end_time() {
            return None;
        }
        for (byte, stamp) in rest.iter_mut().zip(stamps) {
            if stamp.time < before.time || stamp.leg < before.leg {
                return None;
            }
            *byte = stamp.point as u8 + 1;
            if stamp.leg != before.leg {
                *byte |= LEG;
            }
            if stamp.point == Point::Wakeup && open.woke_reader(stamp) {
                *byte |= READER;
            }
            before = stamp;
        }
        let (words, _) = bytes.as_chunks();
        let mut course = [0; COURSE / 8];
        for (word, bytes) in course.iter_mut().zip(words) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Some(Self(course))
    }
}

impl Hash for Course {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for &word in &self.0 {
            state.write_u64(word);
        }
    }
}

/// What is the same for all journeys of one course.
#[derive(Debug)]
pub(super) struct Way {
    /// Which of the stamps count.
    kept: Vec<u8>,
    /// The stages, between stamps: one begins at the stamp whose number is its `start`, and ends `ns` stamps later.
    stages: Vec<Stage>,
    /// A part in the middle was lost.
    pub lost: bool,
}

impl Way {
    /// From what was made of stamps whose times are their own numbers.
    pub(super) fn new(kept: &[Stamp], stages: Vec<Stage>, lost: bool) -> Self {
        let kept = kept.iter().map(|stamp| stamp.time as u8).collect();
        Self { kept, stages, lost }
    }

    /// Of a journey with these stamps, those that count, and the stages.
    pub(super) fn apply(&self, stamps: &[Stamp], chosen: &mut Vec<Stamp>, stages: &mut Vec<Stage>) {
        chosen.clear();
        chosen.extend(self.kept.iter().map(|&number| stamps[usize::from(number)]));
        stages.extend(self.stages.iter().map(|stage| {
            let from = &stamps[stage.start as usize];
            let to = &stamps[(stage.start + stage.ns) as usize];
            Stage {
                start: from.time,
                ns: to.time - from.time,
                cpu: from.cpu,
                ..*stage
            }
        }));
    }
}

/// The ways that were met.
#[derive(Default, Debug)]
pub(super) struct Ways(HashMap<Course, Way, BuildHasherDefault<AddressHasher>>);

impl Ways {
    /// The way of a course, which `find` finds where it is met for the first time.
    pub(super) fn of(&mut self, course: Course, find: impl FnOnce() -> Way) -> &Way {
        if self.0.len() >= MOST && !self.0.contains_key(&course) {
            self.0.clear();
        }
        self.0.entry(course).or_insert_with(find)
    }
}
