//! The live source: the rings of every CPU, drained by turns.

use std::{collections::BTreeMap, io, os::fd::AsRawFd as _, time::Duration};

use aya::maps::RingBuf;
use rustix::event::epoll;
use tokio::io::unix::AsyncFd;
use trace_ebpf::{COUNTERS, Counter};

use super::{item::Item, spending::Spending};
use crate::{budget::Share, kernel::clock::monotonic_ns, probe::Loaded};

/// While packets flow, slots are swept and rings are drained this often.
const BUSY: Duration = Duration::from_millis(10);
/// … and this often when nothing has happened for long: four wake-ups a second cost no measurable CPU time.
const IDLE: Duration = Duration::from_millis(250);
/// How long after the last record the busy pace is kept.
const LINGER_NS: u64 = 300_000_000;
/// From then on the pause grows with the quiet: this part of it.
const PART: u64 = 8;

/// How often, a millisecond apart, the last sweep is tried.
const LAST_SWEEPS: u32 = 100;

/// Records that are taken from one ring before it is the next one's turn: so the times of what is held for its order stay
/// close together.
const AT_ONCE: usize = 256;
/// What each record takes in a ring besides itself (`BPF_RINGBUF_HDR_SZ`); its length is rounded up to that, too.
const RECORD_HEAD: usize = 8;

/// The kernel is asked this often what it did not run: one system call for each program.
const ASK_NS: u64 = 1_000_000_000;

/// Attached probes and their rings.
pub struct Live {
    loaded: Loaded,
    /// Readable when a ring is half full: the programs wake nobody before.
    late: AsyncFd<std::os::fd::OwnedFd>,
    last_record: u64,
    /// When every CPU was swept last.
    swept: u64,
    /// What the kernel did not run our programs for, and when it was asked.
    missed: u64,
    asked: u64,
    spending: Option<Spending>,
}

impl Live {
    /// Takes over probes that were all attached at `start`, CLOCK_MONOTONIC ns, and keeps what they take under the budget. Needs
    /// a tokio runtime with I/O.
    pub fn new(loaded: Loaded, start: u64, budget: Option<Share>) -> io::Result<Self> {
        let late = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, ring) in loaded.rings.iter().enumerate() {
            // SAFETY: the descriptor lives as long as the ring, which `loaded` keeps.
            let ring = unsafe { std::os::fd::BorrowedFd::borrow_raw(ring.as_raw_fd()) };
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&late, ring, epoll::EventData::new_u64(index as u64), flags)?;
        }
        let spending = budget.map(|share| Spending::new(share, &loaded));
        Ok(Self {
            loaded,
            spending,
            // SAFETY: the descriptor is owned by this AsyncFd and never replaced.
            late: unsafe { AsyncFd::register_with_interest(late, tokio::io::Interest::READABLE) }?,
            last_record: 0,
            // Until the first sweep succeeds, what was seen since then may still lie in a slot.
            swept: start,
            missed: 0,
            asked: 0,
        })
    }

    /// Waits until it is time to [`turn`](Self::turn) again.
    pub async fn due(&mut self) {
        let quiet = monotonic_ns().saturating_sub(self.last_record);
        let pause = if quiet < LINGER_NS {
            BUSY
        } else {
            Duration::from_nanos(quiet / PART).min(IDLE)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            ready = self.late.readable() => if let Ok(mut ready) = ready {
                let mut events = Vec::with_capacity(16);
                let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                // only to reset the edge
                let _ = epoll::wait(&self.late, rustix::buffer::spare_capacity(&mut events), Some(&none));
                ready.clear_ready();
            }
        }
    }

    /// Hands on everything the programs have written until now, then a tick.
    pub fn turn<E>(&mut self, mut each: impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        // What is older than a sweep's age at `now` is in the rings after it; the stream's time stands still
        // while a CPU could not be swept.
        let now = monotonic_ns();
        self.loaded.print_log();
        if self.loaded.sweep(false) {
            self.swept = now;
        }
        self.drain(now, &mut each)?;
        if now.saturating_sub(self.asked) >= ASK_NS {
            self.ask(now);
        }
        self.settle(&mut each)?;
        each(self.tick())
    }

    /// Detaches everything: no more packets are seen.
    pub fn stop(&mut self) {
        // that takes its time, too
        if let Some(spending) = &mut self.spending {
            spending.end(self.loaded.cpus());
        }
        self.loaded.detach();
    }

    /// The trace was [stopped](Self::stop) and is over: every slot is sent, every ring emptied.
    pub fn end<E>(&mut self, mut each: impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        // A thread that lost its CPU inside a hook needs it first.
        for _ in 0..LAST_SWEEPS {
            if self.loaded.sweep(true) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let now = monotonic_ns();
        self.drain(now, &mut each)?;
        self.ask(now);
        if let Some(spending) = &mut self.spending {
            spending.end(self.loaded.cpus());
        }
        let mut counters = self.counters();
        counters[Counter::SegmentsLost as usize] += unsent(&counters);
        each(Item::End { now, counters })
    }

    /// Hands on all that is in the rings when it is called.
    fn drain<E>(
        &mut self,
        now: u64,
        each: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (rings, bytes) = (self.loaded.rings.len(), self.loaded.ring_bytes as usize);
        by_turns(rings, bytes, |ring| {
            // a turn under a load that is too high is longer than a period
            self.settle(each)?;
            let rings = &mut self.loaded.rings;
            let Some(record) = rings.get_mut(ring).and_then(RingBuf::next) else {
                return Ok(None);
            };
            self.last_record = now;
            each(Item::Record(&record))?;
            Ok(Some(record.len()))
        })
    }

    fn ask(&mut self, now: u64) {
        self.missed = self.loaded.missed().values().sum();
        self.asked = now;
    }

    /// A trace with a budget keeps to it; each period's end is told.
    fn settle<E>(&mut self, each: &mut impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        let spending = self.spending.as_mut();
        if spending.is_some_and(|spending| spending.look(&mut self.loaded)) {
            each(self.tick())?;
        }
        Ok(())
    }

    fn tick(&self) -> Item<'static> {
        Item::Tick {
            now: self.swept,
            counters: self.counters(),
        }
    }

    /// The kernel side's counters, summed over all CPUs.
    pub fn counters(&self) -> [u64; COUNTERS as usize] {
        let mut counters = self.loaded.counters();
        counters[Counter::Missed as usize] += self.missed;
        if let Some(spending) = &self.spending {
            let (spent, at) = spending.spent();
            counters[Counter::ProgramsNs as usize] = spent.programs_ns;
            counters[Counter::OwnNs as usize] = spent.own_ns;
            counters[Counter::SpentAt as usize] = at;
            counters[Counter::OneIn as usize] = u64::from(self.loaded.one_in().get());
        }
        counters
    }

    /// How often the kernel did not run which of our programs; those that missed nothing are left out.
    pub fn missed(&self) -> BTreeMap<&str, u64> {
        self.loaded.missed()
    }
}

/// Calls `next` with the number of each of so many rings by turns, until it gave `None` for it instead of the length of a record,
/// or as many bytes as fit into a ring. All that was there at the beginning has come by then: under a load that is too high
/// a ring is never empty, and whoever waited for that would wait for the load's end.
fn by_turns<E>(
    rings: usize,
    ring_bytes: usize,
    mut next: impl FnMut(usize) -> Result<Option<usize>, E>,
) -> Result<(), E> {
    let mut left = vec![ring_bytes; rings];
    while left.iter().any(|&bytes| bytes > 0) {
        for (ring, left) in left.iter_mut().enumerate() {
            for _ in 0..AT_ONCE {
                if *left == 0 {
                    break;
                }
                *left = match next(ring)? {
                    Some(record) => {
                        left.saturating_sub(RECORD_HEAD + record.next_multiple_of(RECORD_HEAD))
                    }
                    None => 0,
                };
            }
        }
    }
    Ok(())
}

/// Segments that no sweep could send: of a CPU that has left, or whose thread never came back to the hook it was in.
const fn unsent(counters: &[u64; COUNTERS as usize]) -> u64 {
    let ended = counters[Counter::SegmentsSent as usize]
        + counters[Counter::SegmentsLost as usize]
        + counters[Counter::Filtered as usize];
    counters[Counter::SegmentsOpened as usize].saturating_sub(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_is_never_empty_is_left_when_it_was_read_once() {
        let mut taken = [0; 3];
        // the first is filled faster than it is read, the second had ten records, the third none
        let next = |ring: usize| {
            taken[ring] += 1;
            let more = ring == 0 || ring == 1 && taken[ring] <= 10;
            Ok::<_, ()>(more.then_some(50))
        };
        assert_eq!(by_turns(3, 64 << 10, next), Ok(()));
        assert_eq!(taken, [1 << 10, 11, 1]);
    }

    #[test]
    fn rings_take_turns() {
        let mut order = Vec::new();
        let next = |ring: usize| {
            order.push(ring);
            Ok::<_, ()>(Some(56))
        };
        assert_eq!(by_turns(2, 64 * AT_ONCE * 2, next), Ok(()));
        let turns: Vec<usize> = order.chunk_by(|a, b| a == b).map(<[usize]>::len).collect();
        assert_eq!(turns, [AT_ONCE; 4]);
    }

    #[test]
    fn what_nobody_sent_is_counted() {
        let mut counters = [0; COUNTERS as usize];
        counters[Counter::SegmentsOpened as usize] = 10;
        counters[Counter::SegmentsSent as usize] = 6;
        counters[Counter::SegmentsLost as usize] = 1;
        counters[Counter::Filtered as usize] = 2;
        assert_eq!(unsent(&counters), 1);
    }
}
