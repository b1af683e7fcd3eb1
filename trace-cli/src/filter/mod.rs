//! Which journeys the user wants to see: tcpdump's filter language (pcap-filter(7)) over journeys, with a few words of our own.
//!
//! An expression is asked twice: the kernel side gets its [`Prefilter`], which rejects most packets for next to nothing, and user
//! space asks [`Filter::matches`] of each flow of a finished journey.
//!
//! The text is read with winnow: it is at 1.0, asks for Rust 1.65, depends on nothing, needs no build step and is in our lock file
//! anyway (toml), while chumsky's 1.0 is an alpha, and pest and lalrpop generate code from grammars (Rust 1.88 and 1.86) in which
//! pcap's inherited qualifiers have no place; tokens with spans leave room for pcap's arithmetic.

mod address;
mod ast;
mod error;
mod eval;
mod lex;
mod parse;
mod prefilter;
mod primitive;
mod services;
#[cfg(test)]
mod tests;
mod value;
mod words;

use std::fmt;
use std::str::FromStr;

pub use ast::Direction;
pub use error::{FilterError, FilterErrorKind};
pub use eval::{Network, Subject};
pub use prefilter::{Prefilter, Rewriting};

/// The short description of the syntax for `--help`.
pub const HELP: &str = include_str!("help.txt");

/// A filter expression; the default one matches everything.
///
/// `Display` prints it fully parenthesised, in a form that parses to the same filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(Option<ast::Expr>);

impl Filter {
    /// Reads an expression; an empty one matches everything.
    ///
    /// # Errors
    /// If the expression is wrong, or uses a part of pcap-filter that is not supported yet.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }

    /// Whether a packet matches. A test of something that the packet lacks is false, and its negation true.
    pub fn matches(&self, p: &Subject<'_>) -> bool {
        self.0.as_ref().is_none_or(|expr| expr.matches(p))
    }

    /// What every match needs, for the kernel side.
    pub fn prefilter(&self) -> Prefilter {
        self.0.as_ref().map(Prefilter::of).unwrap_or_default()
    }

    /// Whether it was empty.
    pub fn matches_all(&self) -> bool {
        self.0.is_none()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |expr| expr.fmt(f))
    }
}
