//! The `pktjourney` that lies beside the examples.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// Starts it with these words and waits for its first line, when all is attached: the process, the rest of what it prints, and how
/// long that took.
pub fn start(words: &str) -> Result<(Child, BufReader<ChildStdout>, Duration)> {
    let examples = std::env::current_exe()?;
    let folder = examples.ancestors().nth(2).context("no folder")?;
    let begun = Instant::now();
    let mut child = Command::new(folder.join("pktjourney"))
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("pktjourney does not lie in the folder above")?;
    let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    ensure!(line.contains("\"session\""), "it began with: {line}");
    Ok((child, stdout, begun.elapsed()))
}
