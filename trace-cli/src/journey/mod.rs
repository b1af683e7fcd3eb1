//! Journeys: what they are ([`model`], [`stage`]) and how they are rebuilt from segments.
//!
//! The [`assembler`] is pure: it reads no clock, does no I/O, and what it gives depends on nothing but the
//! records it was given. A stamp's way through it:
//!
//! 1. `reorder` holds every record until no older one can come, and gives them on in order of time.
//! 2. `identity` says whether a stamp continues the journey that has its sk_buff's address.
//! 3. `open` takes it, which `slab` keeps (`awake`, or `asleep` as bytes); `sockets`, `polls` and `links` join what other records know.
//! 4. `outcome` says how the journey ended.
//! 5. `stages` makes legs and stages of the stamps, and [`assembler`] gives the journey out.
mod asleep;
pub mod assembler;
mod awake;
mod connections;
pub mod flow;
mod gap;
mod hash;
mod identity;
pub mod ledger;
mod links;
pub mod model;
mod names;
mod open;
mod outcome;
mod places;
mod point;
mod polls;
pub mod probed;
mod reorder;
mod slab;
mod sockets;
pub mod stage;
mod stages;
mod ways;
