//! `cargo xtask vm`: runs a command as root on another kernel, in an emulated machine that boots in
//! seconds and needs neither KVM nor privileges nor anything installed.

mod cpio;
mod elf;
mod initrd;
mod kernels;
mod qemu;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
pub use initrd::Payload;
pub use kernels::{LINES, Vanished};
pub use qemu::Ended;
pub use tools::{bpftrace, bpftrace_command};

use crate::util::{self, run, say};

/// What `cargo xtask vm` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Kernel line: 5.10, 6.1, 6.12, 7.2, 7.3, any other that Debian has, or all
    #[arg(long, default_value = DEFAULT)]
    kernel: String,
    /// Look for a newer kernel of the line, even when one is cached
    #[arg(long)]
    update: bool,
    /// Stop the guest after this many seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Bring a file: HOST or HOST:GUEST (into /job when no guest path is given)
    #[arg(long, value_name = "HOST[:GUEST]")]
    file: Vec<String>,
    /// Where what the command writes to /out goes
    #[arg(long, value_name = "DIR", default_value = "target/vm")]
    out: PathBuf,
    /// One virtual ns an instruction on one processor: for counting instructions
    #[arg(long)]
    deterministic: bool,
    /// The command; `pktjourney` in it is built and brought along, a program given by its path too.
    /// Without a command: a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// The line that everything is tested on.
pub const DEFAULT: &str = "6.12";

/// A guest to run.
pub struct Guest {
    /// The kernel line.
    pub line: String,
    /// Whether to look for a newer kernel.
    pub update: bool,
    /// What to bring and run.
    pub payload: Payload,
    /// Where its `/out` goes.
    pub out: Option<PathBuf>,
    /// When to stop it.
    pub timeout: Duration,
    /// See [`Arguments::deterministic`].
    pub deterministic: bool,
    /// Whether each line that it writes begins with its kernel line.
    pub named: bool,
}

impl Guest {
    /// A guest with the default kernel that runs a script.
    pub fn new(line: &str, payload: Payload) -> Self {
        Self {
            line: line.into(),
            update: false,
            payload,
            out: None,
            timeout: Duration::from_secs(3600),
            deterministic: false,
            named: false,
        }
    }

    /// Boots, runs, ends.
    pub fn run(&self) -> Result<Ended> {
        let cache = util::cache()?;
        let kernel = kernels::find(&cache, &self.line, self.update)?;
        let base = initrd::base(&cache, &kernel)?;
        let scratch = util::scratch(&cache)?;
        let initrd = initrd::joined(&base, &self.payload, scratch.path())?;
        say(format!(
            "booting {} (emulated; 5 to 15 s until the command starts)",
            kernel.release
        ));
        let start = Instant::now();
        let prefix = if self.named {
            format!("[{}] ", self.line)
        } else {
            String::new()
        };
        let ended = qemu::boot(
            tools::qemu(&cache)?,
            &qemu::Boot {
                image: &kernel.image,
                initrd: &initrd,
                dir: scratch.path(),
                out: self.out.as_deref(),
                timeout: self.timeout,
                interactive: self.payload.script.is_none(),
                prefix: &prefix,
                deterministic: self.deterministic,
            },
        )?;
        say(format!(
            "{}: exit code {} after {:.1} s",
            kernel.release,
            ended.code,
            start.elapsed().as_secs_f64()
        ));
        Ok(ended)
    }
}

/// Runs the command on one kernel or all of them; its exit code is ours.
pub fn vm(arguments: &Arguments) -> Result<ExitCode> {
    let mut files = Vec::new();
    for file in &arguments.file {
        files.push(brought(file)?);
    }
    let script = script(&arguments.command, &mut files)?;
    let lines = match arguments.kernel.as_str() {
        "all" => LINES.to_vec(),
        line => vec![line],
    };
    let mut worst = 0;
    let mut failed = Vec::new();
    for line in &lines {
        let guest = Guest {
            line: (*line).into(),
            update: arguments.update,
            payload: Payload {
                files: files.clone(),
                script: script.clone(),
                ..Payload::default()
            },
            out: Some(arguments.out.join(line)),
            timeout: Duration::from_secs(arguments.timeout),
            deterministic: arguments.deterministic,
            named: false,
        };
        let code = match guest.run() {
            Ok(ended) => ended.code,
            Err(error) if lines.len() > 1 => {
                say(format!("{line}: {error:#}"));
                failed.push(format!("{line} ({error})"));
                1
            }
            Err(error) => return Err(error),
        };
        worst = worst.max(code);
    }
    if lines.len() > 1 {
        let ran = lines.len() - failed.len();
        let not = if failed.is_empty() {
            String::new()
        } else {
            format!("; not run: {}", failed.join(", "))
        };
        say(format!(
            "ran on {ran} of {} kernels, highest exit code {worst}{not}",
            lines.len()
        ));
    }
    Ok(ExitCode::from(worst))
}

/// Builds the release binary and gives its path.
pub fn pktjourney() -> Result<PathBuf> {
    say("building pktjourney (release)");
    run(util::cargo().args(["build", "--release", "--quiet", "--package", "trace-cli"]))?;
    Ok(util::target_dir()?.join("release/pktjourney"))
}

/// `HOST` or `HOST:GUEST`
fn brought(file: &str) -> Result<(PathBuf, String)> {
    let (host, guest) = file.split_once(':').unwrap_or((file, ""));
    let host = PathBuf::from(host);
    if !host.is_file() {
        bail!("{} is no file", host.display());
    }
    let name = host
        .file_name()
        .context("a file has a name")?
        .to_string_lossy()
        .into_owned();
    let guest = if guest.is_empty() {
        format!("job/{name}")
    } else {
        guest.trim_start_matches('/').into()
    };
    Ok((host, guest))
}

/// The script for a command, and the programs it needs.
fn script(command: &[String], files: &mut Vec<(PathBuf, String)>) -> Result<Option<String>> {
    if command.iter().any(|word| word.contains("pktjourney")) {
        files.push((pktjourney()?, "usr/bin/pktjourney".into()));
    }
    let Some((program, rest)) = command.split_first() else {
        return Ok(None);
    };
    let path = Path::new(program);
    let mut words = Vec::new();
    if program.contains('/') && path.is_file() {
        let name = path
            .file_name()
            .context("a file has a name")?
            .to_string_lossy();
        let guest = format!("job/{name}");
        if !name.starts_with("pktjourney") {
            files.push((fs::canonicalize(path)?, guest.clone()));
            words.push(quoted(&format!("/{guest}")));
        } else {
            words.push("pktjourney".into());
        }
    } else {
        words.push(quoted(program));
    }
    words.extend(rest.iter().map(|word| quoted(word)));
    Ok(Some(format!("{}\n", words.join(" "))))
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
