//! What each command does.

pub mod capture;
pub mod check;
pub mod demo;
pub mod failure;
pub mod stack;
pub mod start;

pub use failure::Failure;

use crate::{
    config::{Command, Config},
    pipeline::Report,
};

/// Runs a command; gives the exit code.
pub fn run(config: Config) -> Result<u8, Failure> {
    let Config {
        command,
        output,
        verbose,
    } = config;
    match command {
        Command::Trace(capture) => capture::run(Report::Trace, capture, output, verbose),
        Command::Latency(capture) => capture::run(Report::Latency, capture, output, verbose),
        Command::Drops(capture) => capture::run(Report::Drops, capture, output, verbose),
        Command::Check(probes) => check::run(&probes, output),
        Command::Stack(wanted) => stack::run(&wanted, output),
        Command::Demo(probes) => demo::run(&probes, output),
    }
}
