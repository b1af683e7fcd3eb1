//! A laboratory: network namespaces and bounded traffic of our own making, so that what a trace says can be
//! compared with what was really sent. Used by the `demo` command and by the tests.
//!
//! Nothing here touches the host's own network: every packet is sent from a namespace made here to another
//! one, and a namespace goes away with its guard, together with its devices, rules and qdiscs.
pub mod cards;
pub mod circumstances;
mod command;
pub mod counters;
pub mod faults;
pub mod netns;
pub mod topology;
pub mod traffic;

pub use command::{LabError, run};
pub use netns::Netns;
pub use topology::{Addresses, Pair, Router};
