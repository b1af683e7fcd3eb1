//! The live source: the rings of every CPU, drained by turns.

use std::{collections::BTreeMap, io, os::fd::AsRawFd as _, time::Duration};

use rustix::event::epoll;
use tokio::io::unix::AsyncFd;
use trace_ebpf::{COUNTERS, Counter};

use crate::{kernel::clock::monotonic_ns, probe::Loaded, source::item::Item};

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
}

impl Live {
    /// Takes over probes that were all attached at `start`, CLOCK_MONOTONIC ns. Needs a tokio runtime with I/O.
    pub fn new(loaded: Loaded, start: u64) -> io::Result<Self> {
        let late = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, ring) in loaded.rings.iter().enumerate() {
            // SAFETY: the descriptor lives as long as the ring, which `loaded` keeps.
            let ring = unsafe { std::os::fd::BorrowedFd::borrow_raw(ring.as_raw_fd()) };
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&late, ring, epoll::EventData::new_u64(index as u64), flags)?;
        }
        Ok(Self {
            loaded,
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
        each(Item::Tick {
            now: self.swept,
            counters: self.counters(),
        })
    }

    /// Detaches everything: no more packets are seen.
    pub fn stop(&mut self) {
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
        let mut counters = self.counters();
        counters[Counter::SegmentsLost as usize] += unsent(&counters);
        each(Item::End { now, counters })
    }

    fn drain<E>(
        &mut self,
        now: u64,
        each: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for ring in &mut self.loaded.rings {
            while let Some(record) = ring.next() {
                self.last_record = now;
                each(Item::Record(&record))?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, now: u64) {
        self.missed = self.loaded.missed().values().sum();
        self.asked = now;
    }

    /// The kernel side's counters, summed over all CPUs.
    pub fn counters(&self) -> [u64; COUNTERS as usize] {
        let mut counters = self.loaded.counters();
        counters[Counter::Missed as usize] += self.missed;
        counters
    }

    /// How often the kernel did not run which of our programs; those that missed nothing are left out.
    pub fn missed(&self) -> BTreeMap<&str, u64> {
        self.loaded.missed()
    }
}

/// Segments that no sweep could send: of a CPU that has left, or whose thread never came back to the hook it was in.
const fn unsent(counters: &[u64; COUNTERS as usize]) -> u64 {
    let ended = counters[Counter::SegmentsSent as usize]
        + counters[Counter::SegmentsLost as usize]
        + counters[Counter::Filtered as usize];
    counters[Counter::SegmentsOpened as usize].saturating_sub(ended)
}
