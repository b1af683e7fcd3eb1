//! Journeys: what they are ([`model`], [`stage`]) and how they are rebuilt from segments.
pub mod model;
pub mod stage;
