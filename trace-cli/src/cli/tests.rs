//! The command line: that it holds together, what it refuses, and what its help says.

use std::fmt::Write as _;

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;

fn refuse(line: &str) -> clap::Error {
    let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    error
}

#[test]
fn holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_named() {
    for (line, part) in [
        (
            "pktjourney trace --duration 10",
            "a unit is missing after 10",
        ),
        ("pktjourney trace --probes uprobe", "unknown probe kind"),
        ("pktjourney trace -c 0", "0 is not in 1.."),
        (
            "pktjourney trace --buffer-size 5000",
            "must be a power of two: 4096 or 8192 bytes?",
        ),
        ("pktjourney trace -r a.pjy -w b.pjy", "cannot be used with"),
        (
            "pktjourney trace -r a.pjy --probes kprobe",
            "cannot be used with",
        ),
        (
            "pktjourney latency --only-drops",
            "unexpected argument '--only-drops'",
        ),
        (
            "pktjourney trace --budget 200%",
            "from 0.0001% to 100%, as in 2%",
        ),
        ("pktjourney trace --budget 0.00001%", "as in 2%"),
        ("pktjourney trace --budget 2", "as in 2%"),
        ("pktjourney trace -r a.pjy --budget 2%", "cannot be used"),
        ("pktjourney drops --budget 2%", "unexpected argument"),
        ("pktjourney trace -i this-name-is-too-long", "1 to 15 bytes"),
    ] {
        let error = refuse(line).to_string();
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn no_command_shows_the_help() {
    let error = refuse("pktjourney");
    assert_eq!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
}

/// Run with `BLESS=1` to take what is printed for right.
#[test]
fn help_is_as_in_the_snapshot() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut shown = command.render_long_help().to_string();
    for sub in command
        .get_subcommands_mut()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = sub.get_name().to_owned();
        write!(
            shown,
            "\n======== {name} ========\n{}",
            sub.render_long_help()
        )
        .expect("a string takes everything");
    }
    // The filter's own tests look after its part.
    let shown = shown.replace(
        crate::filter::HELP.trim_end(),
        "(help of the filter language)",
    );
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    let shown = lines.join("\n") + "\n";
    if std::env::var_os("BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/help.snapshot.txt");
        std::fs::write(path, &shown).expect("the snapshot can be written");
        return;
    }
    let expected = include_str!("help.snapshot.txt");
    let differs = shown.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        shown == expected,
        "help changed (BLESS=1 accepts it), first at {differs:?}"
    );
}
