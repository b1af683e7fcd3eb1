//! The command as its users meet it: exit codes, messages, and that what the documents show can be typed.
mod demo;
mod documents;
mod usage;

use std::{
    ffi::OsString,
    process::{Command, Output, Stdio},
};

/// The binary under test.
fn binary() -> OsString {
    std::env::var_os("PKTJOURNEY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pktjourney").into())
}

/// Runs it to its end.
fn pktjourney(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("start pktjourney")
}

/// Standard error, as text.
fn complaints(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
