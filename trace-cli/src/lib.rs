//! pktjourney follows each packet through the Linux kernel. Data flows one way:
//!
//! ```text
//! source (live rings | file) → decode → journey::assembler → aggregate → sinks
//! ```
//!
//! ARCHITECTURE.md has the map and the invariants.
pub mod aggregate;
pub mod budget;
pub mod cli;
pub mod commands;
pub mod config;
pub mod decode;
pub mod dictionary;
pub mod filter;
pub mod inference;
pub mod journey;
pub mod kernel;
pub mod lab;
pub mod pipeline;
pub mod place;
pub mod probe;
pub mod selection;
pub mod session;
pub mod sink;
pub mod source;
pub mod stack;
