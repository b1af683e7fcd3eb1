//! Calling the system's own tools (`ip`, `tc`, `nft`, `ethtool`) so that a failure says what was called and
//! what it answered.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// Why the laboratory could not be set up, or its traffic not be made.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A tool is not installed.
    #[error("`{program}` is not installed (package {package})")]
    Missing {
        /// The tool.
        program: String,
        /// The package that has it, on Debian.
        package: &'static str,
    },
    /// A tool refused.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The whole command line, and what was written to its standard input.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] crate::kernel::netns::NetnsError),
    /// Traffic did not arrive.
    #[error("{0}")]
    Traffic(String),
}

impl LabError {
    /// For `map_err`: an I/O error with the words that say what was tried.
    pub fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        |source| Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// The Debian package of a tool.
fn package(program: &str) -> &'static str {
    match program {
        "ip" | "tc" | "nstat" | "ss" => "iproute2",
        "nft" => "nftables",
        "ethtool" => "ethtool",
        "ping" => "iputils-ping",
        _ => "unknown",
    }
}

/// Runs a command to its end, with `input` on its standard input; its standard output is the answer.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, LabError> {
    let described = || {
        let line = format!("{program} {}", arguments.join(" "));
        if input.is_empty() {
            line
        } else {
            format!("{line}` with `{}", input.trim().replace('\n', "; "))
        }
    };
    let mut child = Command::new(program)
        .args(arguments)
        // A language or colour setting must not change what is read back.
        .env("LC_ALL", "C")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LabError::Missing {
                program: program.to_owned(),
                package: package(program),
            },
            _ => LabError::io(described())(error),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading all of it has said why on stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(LabError::io(described()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Command {
        command: described(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_command_and_its_words() {
        let error = run("sh", &["-c", "cat >&2; exit 3"], "no such thing").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c cat >&2; exit 3` with `no such thing` failed: no such thing"
        );
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = run("pktjourney-has-no-such-tool", &[], "").unwrap_err();
        assert!(matches!(error, LabError::Missing { .. }), "{error}");
    }
}
