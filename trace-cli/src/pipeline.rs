//! The one place where everything is joined: items in, results out.
//!
//! ```text
//! Item → decode → assembler → selection → aggregates, sink
//! ```
//!
//! What comes out depends on the items and on nothing else: so a recording gives what the live run gave.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};
use trace_ebpf::Hook;

use crate::{
    aggregate::{drops::Drops, latency::Latency},
    budget::Teller,
    config::Selection,
    decode::{Record, decode},
    dictionary::{Dictionary, Thread},
    journey::{
        assembler::{Assembler, Limits},
        ledger::KernelCounters,
        model::{Journey, Ledger},
        probed::Probed,
    },
    kernel::symbols::Symbol,
    place, selection,
    session::{Sample, Session},
    sink::{End, Sink, Warning},
    source::item::{Counters, Item},
    stack::meanwhile::{Meanwhile, Moment},
};

/// What a run makes of its journeys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// Each one.
    Trace,
    /// Percentiles of stages.
    Latency,
    /// Groups of drops.
    Drops,
}

impl Report {
    /// The command's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Latency => "latency",
            Self::Drops => "drops",
        }
    }
}

/// What stands before the first item of a stream: all that a later reader needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Preface {
    /// The session's record.
    pub session: Session,
    /// Names known at the start.
    pub names: Dictionary,
    /// Stamps that could be taken, by their number in the wire format.
    pub stamps: Vec<u8>,
}

/// Names learnt on the way ([`Item::Names`]).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Learnt {
    /// Network namespaces: inode and name.
    pub namespaces: Vec<(u32, String)>,
    /// Kernel addresses.
    pub symbols: Vec<(u64, Symbol)>,
    /// Why there are no symbols.
    pub no_symbols: Option<String>,
}

/// Bounds and aims of a run.
#[derive(Clone, Debug)]
pub struct Aim {
    /// What to make.
    pub report: Report,
    /// Which journeys count.
    pub selection: Selection,
    /// Stop after so many.
    pub count: Option<u64>,
    /// Stop this long after the first tick.
    pub duration: Option<Duration>,
    /// Journeys open at once.
    pub max_journeys: usize,
}

/// A run.
pub struct Pipeline<S> {
    aim: Aim,
    sink: S,
    assembler: Assembler,
    names: Dictionary,
    latency: Latency,
    drops: Drops,
    ledger: Ledger,
    matched: u64,
    /// What the kernel counted by itself: the first moment, and the last one after it.
    moments: (Option<Moment>, Option<Moment>),
    sample: Option<Sample>,
    budget: Option<Teller>,
    /// When all probes were in place.
    start: u64,
    first: Option<u64>,
    last: u64,
    done: bool,
}

impl<S: Sink> Pipeline<S> {
    /// Begins with the session's record.
    pub fn begin(preface: &Preface, aim: Aim, mut sink: S) -> io::Result<Self> {
        sink.session(&preface.session)?;
        sink.flush()?;
        let mut assembler = Assembler::new(Limits {
            open_journeys: aim.max_journeys,
            ..Limits::default()
        });
        assembler.set_probed(
            (1..=Hook::LAST)
                .filter(|number| preface.stamps.contains(number))
                .filter_map(crate::decode::hook)
                .collect::<Probed>(),
        );
        assembler.set_queue_purge(preface.names.drop_reason_code("QUEUE_PURGE"));
        Ok(Self {
            aim,
            sink,
            assembler,
            names: preface.names.clone(),
            latency: Latency::new(),
            drops: Drops::default(),
            ledger: Ledger::default(),
            matched: 0,
            moments: (None, None),
            sample: preface.session.sample,
            budget: Teller::of(&preface.session),
            start: preface.session.start_ns,
            first: Some(preface.session.start_ns),
            last: preface.session.start_ns,
            done: false,
        })
    }

    /// Takes the next item.
    pub fn step(&mut self, item: &Item<'_>) -> io::Result<()> {
        match *item {
            Item::Record(bytes) => {
                match decode(bytes) {
                    Ok(record) if began(&record).is_some_and(|time| time < self.start) => {}
                    Ok(record) => self.record(record),
                    Err(_) => self.assembler.push_damaged(),
                }
                // More than may be held: what is oldest is done, and must not pile up until the next tick.
                self.give()
            }
            Item::Names(text) => {
                // written by ourselves; one that cannot be read takes only names away
                if let Ok(learnt) = serde_json::from_str::<Learnt>(text) {
                    for (inode, name) in learnt.namespaces {
                        self.names.insert_namespace(inode, name);
                    }
                    for (address, symbol) in learnt.symbols {
                        self.names.insert_symbol(address, symbol);
                    }
                    if let Some(why) = learnt.no_symbols {
                        let message = format!("kernel addresses have no names: {why}");
                        self.warn("no_symbols", message)?;
                    }
                }
                Ok(())
            }
            Item::Moment(text) => {
                // as with names
                let moment = serde_json::from_str(text).ok();
                match self.moments.0 {
                    None => self.moments.0 = moment,
                    Some(_) => self.moments.1 = moment,
                }
                Ok(())
            }
            Item::Tick { now, counters } => {
                self.tell_budget(&counters)?;
                self.assembler.set_counters(KernelCounters(counters));
                self.assembler.tick(now);
                self.last = now;
                self.give()?;
                let first = *self.first.get_or_insert(now);
                if let Some(duration) = self.aim.duration {
                    self.done |= now.saturating_sub(first) >= duration.as_nanos() as u64;
                }
                self.sink.flush()
            }
            Item::End { now, counters } => {
                self.tell_budget(&counters)?;
                self.assembler.set_counters(KernelCounters(counters));
                self.assembler.finish(now);
                self.last = now;
                self.give()
            }
        }
    }

    fn tell_budget(&mut self, counters: &Counters) -> io::Result<()> {
        let budget = self.budget.as_mut();
        match budget.and_then(|budget| budget.tick(counters)) {
            Some(message) => self.warn("budget", message),
            None => Ok(()),
        }
    }

    fn record(&mut self, record: Record<'_>) {
        match &record {
            Record::Device(device) => {
                self.names
                    .insert_interface(device.netns, device.ifindex, device.name.clone());
            }
            Record::Process(process) => {
                let thread = Thread {
                    tgid: process.tgid,
                    name: process.name.clone(),
                };
                self.names.insert_thread(process.pid, thread);
            }
            _ => {}
        }
        self.assembler.push(record);
    }

    fn give(&mut self) -> io::Result<()> {
        while let Some(mut journey) = self.assembler.pop() {
            if let Some(drop) = &mut journey.drop {
                place::refine(drop, &self.names);
            }
            if !self.full() && selection::selects(&self.aim.selection, &journey, &self.names) {
                self.take(&journey)?;
            }
            self.assembler.give_back(journey);
        }
        self.done |= self.full();
        Ok(())
    }

    fn full(&self) -> bool {
        self.aim.count.is_some_and(|count| self.matched >= count)
    }

    fn take(&mut self, journey: &Journey) -> io::Result<()> {
        self.matched += 1;
        self.ledger.count(journey.outcome);
        match self.aim.report {
            Report::Trace => self.sink.journey(journey, &self.names)?,
            Report::Latency => self.latency.add(journey),
            Report::Drops => self.drops.add(journey),
        }
        Ok(())
    }

    /// Whether the count or the duration asked for is reached.
    pub const fn done(&self) -> bool {
        self.done
    }

    /// Says something to the user.
    pub fn warn(&mut self, code: &'static str, message: String) -> io::Result<()> {
        self.sink.warning(&Warning { code, message })
    }

    /// Prints tables and ledger.
    pub fn end(mut self) -> io::Result<Ledger> {
        match self.aim.report {
            Report::Trace => {}
            Report::Latency => self
                .sink
                .latency(&self.latency.rows(), self.latency.excluded())?,
            Report::Drops => self.sink.drops(&self.drops.groups(), &self.names)?,
        }
        // A recording that was left early has no last moment.
        if let (Some(start), Some(end)) = &self.moments {
            self.sink
                .meanwhile(&Meanwhile::between(start, end, &self.aim.selection.netns))?;
        }
        let duration = self.last.saturating_sub(self.first.unwrap_or(self.last));
        let budget = self.budget.map(|budget| budget.account(duration));
        let one_in = budget.map(|budget| Sample {
            one_in: budget.one_in,
        });
        let lost = self.assembler.ledger().lost;
        self.ledger.lost = lost;
        self.ledger.seen += lost;
        self.sink.end(&End {
            ledger: self.ledger,
            losses: self.assembler.losses(),
            duration: Duration::from_nanos(duration),
            matched: self.matched,
            budget,
            sample: one_in
                .or(self.sample)
                .map(|sample| (sample, self.assembler.left_out())),
        })?;
        self.sink.flush()?;
        Ok(self.ledger)
    }
}

/// When what is told of a packet began. Before the session's start only some of the probes were in place: what they say
/// of a packet is not the whole, and stages would hold what others should have bounded.
const fn began(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Segment(segment) => Some(segment.t0),
        Record::Drop(drop) => Some(drop.time),
        Record::Socket(_) | Record::Poll(_) | Record::Device(_) | Record::Process(_) => None,
    }
}
