//! Probes: what can be hooked ([`catalogue`]), by which kind ([`kind`]), what this kernel took of it
//! ([`plan`]), and the code that loads and attaches ([`loader`], [`netfilter`]).

pub mod catalogue;
pub mod kind;
pub mod loader;
pub mod missed;
mod netfilter;
pub mod plan;

pub use kind::{Kind, Kinds};
pub use loader::{Loaded, Options, load};
pub use plan::{Plan, Row, State};
