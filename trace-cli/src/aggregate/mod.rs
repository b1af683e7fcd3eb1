//! Many journeys to few figures: where the time goes ([`latency`]) and where packets are dropped ([`drops`]).
//!
//! Pure and bounded: they take journeys, read no clock, and keep a set number of things however long a trace runs.
pub mod drops;
pub mod latency;
