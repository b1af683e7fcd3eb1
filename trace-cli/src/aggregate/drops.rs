//! Where packets are dropped: counted by reason, place, stage and flow.
//!
//! The number of groups is bounded. When it is reached, new flows of a reason and place are counted together
//! ([`GroupFlow::Others`]), and when even places are too many, in one last group without a place: no drop is ever
//! left out of the sum.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::journey::model::{Flow, Journey, Outcome};
use crate::journey::stage::StageName;

/// Groups kept with their flow, unless told otherwise.
pub const GROUPS: usize = 1024;

/// Collects drops.
#[derive(Debug)]
pub struct Drops {
    limit: usize,
    groups: HashMap<Key, Figures>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    reason: Option<u32>,
    location: Option<u64>,
    stage: Option<StageName>,
    flow: GroupFlow,
}

#[derive(Debug)]
struct Figures {
    count: u64,
    first: u64,
    last: u64,
    stack: Vec<u64>,
}

/// Which flow a group is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupFlow {
    /// This one.
    Of(FiveTuple),
    /// Packets without readable headers.
    NoHeaders,
    /// Several: there were more than the limit.
    Others,
}

/// What makes a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FiveTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
}

impl From<&Flow> for FiveTuple {
    fn from(flow: &Flow) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            ports: flow.ports,
        }
    }
}

/// Drops that have all of these in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DropGroup {
    /// The kernel's code; `None` where it gives none, and in the last group of all.
    pub reason: Option<u32>,
    /// Address of the caller; `None` where not known, and in the last group of all.
    pub location: Option<u64>,
    /// The stage they were in; `None` in the last group of all.
    pub stage: Option<StageName>,
    /// The flow.
    pub flow: GroupFlow,
    /// How many.
    pub count: u64,
    /// When the first was dropped, monotonic ns.
    pub first: u64,
    /// When the last was.
    pub last: u64,
    /// The first one's return addresses, innermost first.
    pub stack: Vec<u64>,
}

impl Default for Drops {
    fn default() -> Self {
        Self::with_limit(GROUPS)
    }
}

impl Drops {
    /// Keeps at most `limit` groups with a flow, as many without, and one more.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            groups: HashMap::new(),
        }
    }

    /// Counts a journey, if it was dropped.
    pub fn add(&mut self, journey: &Journey) {
        if journey.outcome != Outcome::Dropped {
            return;
        }
        let drop = journey.drop.as_ref();
        let full = Key {
            reason: drop.and_then(|d| d.reason),
            location: drop.map(|d| d.location).filter(|&at| at != 0),
            stage: drop
                .map(|d| d.stage)
                .or(journey.stages.last().map(|s| s.name)),
            flow: journey
                .flow
                .as_ref()
                .map_or(GroupFlow::NoHeaders, |f| GroupFlow::Of(f.into())),
        };
        let time = drop.map_or(journey.start + journey.total, |d| d.time);
        let group = self
            .groups
            .entry(self.place_for(full))
            .or_insert_with(|| Figures {
                count: 0,
                first: time,
                last: time,
                stack: drop.map_or_else(Vec::new, |d| d.stack.clone()),
            });
        group.count += 1;
        group.first = group.first.min(time);
        group.last = group.last.max(time);
    }

    /// The key itself, or the coarser one that there is still room for.
    fn place_for(&self, full: Key) -> Key {
        let flows_together = Key {
            flow: GroupFlow::Others,
            ..full
        };
        let last_of_all = Key {
            reason: None,
            location: None,
            stage: None,
            flow: GroupFlow::Others,
        };
        let has = |key| self.groups.contains_key(key);
        if has(&full) || self.groups.len() < self.limit {
            full
        } else if has(&flows_together) || self.groups.len() < 2 * self.limit {
            flows_together
        } else {
            last_of_all
        }
    }

    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups, the largest first.
    pub fn groups(&self) -> Vec<DropGroup> {
        let mut groups: Vec<DropGroup> = self
            .groups
            .iter()
            .map(|(key, figures)| DropGroup {
                reason: key.reason,
                location: key.location,
                stage: key.stage,
                flow: key.flow,
                count: figures.count,
                first: figures.first,
                last: figures.last,
                stack: figures.stack.clone(),
            })
            .collect();
        groups.sort_by_key(|g| {
            (
                std::cmp::Reverse(g.count),
                g.first,
                g.reason,
                g.location,
                g.flow,
            )
        });
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::sample;

    fn drop_with(port: u16, location: u64) -> Journey {
        let mut journey = sample::dropped();
        journey.flow.as_mut().expect("the sample has a flow").ports = Some((1000, port));
        journey
            .drop
            .as_mut()
            .expect("the sample was dropped")
            .location = location;
        journey
    }

    #[test]
    fn groups_by_everything_in_the_key() {
        let mut drops = Drops::default();
        for (port, location) in [(1, 1), (1, 1), (2, 1), (1, 2), (1, 1)] {
            drops.add(&drop_with(port, location));
        }
        drops.add(&sample::delivered());
        let counts: Vec<_> = drops.groups().iter().map(|g| g.count).collect();
        assert_eq!(counts, [3, 1, 1]);
    }

    #[test]
    fn nothing_is_lost_beyond_the_limit() {
        let mut drops = Drops::with_limit(4);
        for n in 0..10_000_u16 {
            drops.add(&drop_with(n, u64::from(n % 50)));
        }
        let groups = drops.groups();
        assert!(groups.len() <= 9, "{}", groups.len());
        assert_eq!(groups.iter().map(|g| g.count).sum::<u64>(), 10_000);
        assert!(
            groups
                .iter()
                .any(|g| g.stage.is_none() && g.flow == GroupFlow::Others)
        );
    }

    #[test]
    fn a_drop_without_its_record_still_counts() {
        let mut drops = Drops::default();
        drops.add(&Journey {
            drop: None,
            flow: None,
            ..sample::dropped()
        });
        let groups = drops.groups();
        let group = groups.first().expect("a group");
        assert_eq!((group.count, group.reason, group.location), (1, None, None));
        assert_eq!(group.flow, GroupFlow::NoHeaders);
    }
}
