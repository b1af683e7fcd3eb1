//! What comes out of a recording is what would have come out had nothing been recorded.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod cli;
mod library;
mod stream;
