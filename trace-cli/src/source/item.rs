//! What the pipeline consumes, one after the other, whether it comes from the kernel or from a recording.
//!
//! Nothing else may reach the pipeline: that is why reading a recording gives what the live run gave.

use trace_ebpf::{COUNTERS, Counter};

/// The kernel side's counters, summed over CPUs; index by [`Counter`].
pub type Counters = [u64; COUNTERS as usize];

/// One of the counters.
pub fn counter(counters: &Counters, which: Counter) -> u64 {
    counters[which as usize]
}

/// One step of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A wire record from a ring, as it came.
    Record(&'a [u8]),
    /// Time passed.
    Tick {
        /// CLOCK_MONOTONIC, ns.
        now: u64,
        /// Since the programs were loaded.
        counters: Counters,
    },
    /// Names learnt from outside the stream (symbols, namespaces, …): a JSON object, opaque here.
    Names(&'a str),
    /// What the kernel counts by itself, at the beginning and at the end of the trace: a JSON object, opaque here.
    Moment(&'a str),
    /// The trace ended in good order. Nothing follows.
    End {
        /// CLOCK_MONOTONIC, ns.
        now: u64,
        /// Since the programs were loaded, final.
        counters: Counters,
    },
}
