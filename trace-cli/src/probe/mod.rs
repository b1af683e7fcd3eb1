//! Probes: what can be hooked ([`catalogue`]), by which kind ([`kind`]), what this kernel took of it
//! ([`plan`]), which of it is wanted ([`stage_set`]), and the code that loads and attaches ([`loader`], `attach`, `netfilter`).

mod attach;
pub mod catalogue;
pub mod counts;
pub mod kind;
pub mod loader;
mod netfilter;
pub mod plan;
pub mod stage_set;

pub use kind::{Kind, Kinds};
pub use loader::{Loaded, Options, load};
pub use plan::{Plan, Row, State};
pub use stage_set::StageSet;
