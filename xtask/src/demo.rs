//! `cargo xtask demo`: shows pktjourney at work on traffic of its own, here or in a guest.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    util::{self, say},
    vm::{self, Guest, Payload, quoted},
};

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run in a guest with this project's reference kernel: needs no root, shows all probe kinds
    #[arg(long)]
    vm: bool,
    /// The guest's kernel line
    #[arg(long, default_value = vm::DEFAULT)]
    kernel: String,
    /// Arguments for `pktjourney demo`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds pktjourney and runs its demo; the demo's exit code is ours.
pub fn demo(arguments: &Arguments) -> Result<ExitCode> {
    let binary = vm::pktjourney()?;
    if !arguments.vm && util::root() {
        let status = Command::new(binary)
            .arg("demo")
            .args(&arguments.arguments)
            .status()
            .context("cannot start pktjourney")?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
    }
    if !arguments.vm {
        say("not root, and the demo loads eBPF programs: running it in a guest (as with --vm)");
    }
    let words: Vec<String> = arguments
        .arguments
        .iter()
        .map(|word| quoted(word))
        .collect();
    let mut guest = Guest::new(
        &arguments.kernel,
        Payload {
            files: vec![(binary, "usr/bin/pktjourney".into())],
            script: Some(format!("pktjourney demo {}\n", words.join(" "))),
            ..Payload::default()
        },
    );
    guest.timeout = Duration::from_secs(600);
    Ok(ExitCode::from(guest.run()?.code))
}
