//! This same binary as a child: `trace -w` beside the traffic.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{commands::Failure, config::Probes, lab::Netns, probe::Kinds};

/// A trace that is being recorded; killed when dropped.
pub(super) struct Recording {
    child: Child,
    drain: Option<JoinHandle<io::Result<u64>>>,
}

impl Recording {
    /// Starts it and waits until all its probes are in place.
    pub(super) fn start(
        file: &Path,
        probes: &Probes,
        namespaces: &[&Netns],
    ) -> Result<Self, Failure> {
        let failed = |what| move |error| Failure::System(what, error);
        let program = std::env::current_exe().map_err(failed("cannot find this program"))?;
        let mut command = Command::new(program);
        command.args(["trace", "--json", "--write"]).arg(file);
        command.args(["--probes", &kinds(probes.kinds)]);
        command.args(["--buffer-size", &probes.ring_bytes.to_string()]);
        if probes.kinds.nf {
            for netns in namespaces {
                command.args(["--bookends", netns.name()]);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("cannot start the trace"))?;
        let stdout = child.stdout.take();
        let mut recording = Self { child, drain: None };
        if let Some(stdout) = stdout {
            let mut reader = BufReader::new(stdout);
            let mut session = Vec::new();
            reader
                .read_until(b'\n', &mut session)
                .map_err(failed("cannot read what the trace says"))?;
            if session.is_empty() {
                recording.finish()?;
                return Err(failed("the trace says nothing")(
                    io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            recording.drain = Some(thread::spawn(move || {
                io::copy(&mut reader, &mut io::sink())
            }));
        }
        Ok(recording)
    }

    /// Ends it as Ctrl-C would.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let failed = |what| move |error| Failure::System(what, error);
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let status = self
            .child
            .wait()
            .map_err(failed("cannot wait for the trace"))?;
        if let Some(drain) = self.drain.take() {
            let _ = drain.join();
        }
        if status.success() {
            Ok(())
        } else {
            let error = io::Error::other(status.to_string());
            Err(Failure::System("the trace failed", error))
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As `--probes` takes them.
fn kinds(kinds: Kinds) -> String {
    let all = [
        (kinds.tp_btf, "tp_btf"),
        (kinds.fentry, "fentry"),
        (kinds.raw_tp, "raw_tp"),
        (kinds.kprobe, "kprobe"),
        (kinds.nf, "nf"),
    ];
    let names = all
        .iter()
        .filter(|(is_in, _)| *is_in)
        .map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_the_command_line() {
        for text in ["auto", "auto,nf", "kprobe", "tp_btf,raw_tp"] {
            let parsed: Kinds = text.parse().expect("valid");
            assert_eq!(
                kinds(parsed).parse::<Kinds>().as_ref(),
                Ok(&parsed),
                "{text}"
            );
        }
    }
}
