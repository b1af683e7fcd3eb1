//! The `pktjourney` command.

use std::process::ExitCode;

use clap::Parser as _;
use pktjourney::{
    cli::Cli,
    commands,
    config::{Config, Environment},
};

#[expect(clippy::print_stderr, reason = "errors belong there")]
fn main() -> ExitCode {
    let config = match Config::new(Cli::parse(), Environment::detect()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("pktjourney: {error}");
            return ExitCode::from(2);
        }
    };
    match commands::run(config) {
        Ok(code) => ExitCode::from(code),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            eprintln!("pktjourney: {:#}", anyhow::Error::from(failure));
            ExitCode::from(code)
        }
    }
}
