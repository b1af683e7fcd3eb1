//! Runs the tool beside the traffic: starts it, waits until all its probes are in place, ends it, reads what it said.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use pktjourney::lab::Netns;
use rustix::process::{Pid, Signal, kill_process};

use crate::{schema, trace::Trace};

/// Emulated machines are twenty times slower.
pub fn patience(seconds: u64) -> Duration {
    let factor = if std::env::var_os("PKTJOURNEY_VM").is_some() {
        10
    } else {
        1
    };
    Duration::from_secs(seconds * factor)
}

/// So many packets, or a fifth of them on an emulated machine: what they prove is the same.
pub fn some(count: u64) -> u64 {
    if std::env::var_os("PKTJOURNEY_VM").is_some() {
        count / 5
    } else {
        count
    }
}

/// The binary under test.
pub fn binary() -> OsString {
    std::env::var_os("PKTJOURNEY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pktjourney").into())
}

/// Whether this kernel has functions to attach to; if not, netfilter is seen by bookends only.
fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Variable with the probe kinds to be used, as `--probes` takes them.
const PROBES: &str = "PKTJOURNEY_PROBES";

/// The flags that make netfilter visible in these namespaces.
pub fn netfilter_flags(namespaces: &[&Netns]) -> Vec<String> {
    let mut flags = Vec::new();
    if let Ok(kinds) = std::env::var(PROBES) {
        flags.extend(["--probes".to_owned(), kinds]);
    } else if !has_kprobes() {
        flags.extend(["--probes".to_owned(), "auto,nf".to_owned()]);
        for netns in namespaces {
            flags.extend(["--bookends".to_owned(), netns.name().to_owned()]);
        }
    }
    flags
}

/// Variable with the name of a file that gets the tool's output; beside it, with `.pjy` appended, the recording.
const KEEP: &str = "PKTJOURNEY_KEEP";

/// One run at a time: each sees the packets of all, and a flood next door would make it lose some.
static ONE: Mutex<()> = Mutex::new(());

/// A running `pktjourney`; killed when dropped.
pub struct Tracer {
    child: Child,
    output: Arc<Output>,
    reader: Option<JoinHandle<()>>,
    complaints: Mutex<Option<JoinHandle<String>>>,
    _one: MutexGuard<'static, ()>,
}

/// What it has written so far.
#[derive(Default)]
struct Output {
    text: Mutex<String>,
    more: Condvar,
}

impl Tracer {
    /// Starts `pktjourney trace --json` and waits for its first line, which comes once all is attached.
    pub fn start(namespaces: &[&Netns], arguments: &[&str]) -> Self {
        let mut all: Vec<String> = ["trace", "--json", "--buffer-size", "64M"]
            .map(String::from)
            .into();
        all.extend(netfilter_flags(namespaces));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let records = arguments.contains(&"-w");
        if let Some(file) = std::env::var_os(KEEP).filter(|_| !records) {
            all.extend(["-w".to_owned(), format!("{}.pjy", file.to_string_lossy())]);
        }
        let tracer = Self::spawn(&all);
        tracer.wait_for("\"type\":\"session\"", patience(20));
        tracer
    }

    /// Starts it with these arguments and does not wait.
    pub fn spawn(arguments: &[String]) -> Self {
        Self::spawn_keeping(arguments, |_| true)
    }

    /// … and keeps only some of the lines that it prints.
    pub fn spawn_keeping(arguments: &[String], keep: fn(&str) -> bool) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::spawn_command(command, keep)
    }

    /// Starts a command that someone else has prepared.
    pub fn spawn_command(mut command: Command, keep: fn(&str) -> bool) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start pktjourney");
        let output = Arc::new(Output::default());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let sink = Arc::clone(&output);
        let reader = thread::spawn(move || {
            let mut lines = BufReader::with_capacity(1 << 20, stdout.expect("piped"));
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                if keep(&line) {
                    let mut text = sink.text.lock().unwrap_or_else(PoisonError::into_inner);
                    text.push_str(&line);
                    sink.more.notify_all();
                }
                line.clear();
            }
        });
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.expect("piped").read_to_string(&mut text);
            text
        });
        Self {
            child,
            output,
            reader: Some(reader),
            complaints: Mutex::new(Some(complaints)),
            _one: one,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has printed something that contains `words`.
    pub fn wait_for(&self, words: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut text = self
            .output
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !text.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no {words} within {patience:?}; printed: {text}"
            );
            let finished = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            if finished {
                let complaints = self.complaints();
                panic!("ended without {words}; printed: {text}{complaints}");
            }
            let wait = left.min(Duration::from_millis(50));
            text = self
                .output
                .more
                .wait_timeout(text, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The line that it has begun with.
    pub fn session(&self) -> serde_json::Value {
        let text = self
            .output
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let line = text.lines().next().expect("a session line");
        serde_json::from_str(line).expect("JSON")
    }

    /// All of its standard error, once it has ended.
    fn complaints(&self) -> String {
        let thread = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        thread.and_then(|t| t.join().ok()).unwrap_or_default()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("wait for pktjourney")
            .is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signal pktjourney");
    }

    /// Waits for its end: exit status, standard output, standard error. What it printed is as the schema says, unless
    /// it was killed in the middle of a line.
    pub fn wait(&mut self, patience: Duration) -> (ExitStatus, String, String) {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for pktjourney") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "still running after {patience:?}"
            );
            thread::sleep(Duration::from_millis(5));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reader");
        }
        let complaints = self.complaints();
        let text = std::mem::take(
            &mut *self
                .output
                .text
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if status.code().is_some() {
            schema::check(&text);
        }
        (status, text, complaints)
    }

    /// Ctrl-C, then all it printed, checked.
    pub fn finish(mut self) -> Trace {
        self.signal(Signal::INT);
        let (status, output, complaints) = self.wait(patience(20));
        assert!(status.success(), "{status}: {complaints}");
        if let Some(file) = std::env::var_os(KEEP) {
            std::fs::write(file, &output).expect("keep the output");
        }
        let trace = Trace::parse(&output);
        trace.check();
        trace
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Only after a failed assertion is it still running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
