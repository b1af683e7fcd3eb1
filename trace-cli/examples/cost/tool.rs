//! A tool at work beside the traffic: another process, or our floor in this one.

use std::{
    fs,
    io::Read as _,
    num::NonZeroU32,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use pktjourney::{
    kernel::{btf::Btf, offsets},
    lab::Pair,
    probe::{self, Kinds, Loaded, StageSet},
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// How long any tool may take to start or to stop; in a guest time runs slowly.
const PATIENCE: Duration = Duration::from_secs(240);

/// What to run.
#[derive(Clone, Deserialize)]
pub struct Tool {
    pub name: String,
    /// Program and arguments; empty for nothing at all. `{b}` is the namespace that receives.
    #[serde(default)]
    pub command: Vec<String>,
    /// When it is at work.
    #[serde(default)]
    pub ready: Ready,
    /// Programs of ours that only read the clock, at the same hooks, of the probe kinds given here.
    #[serde(default)]
    pub floor: Option<String>,
    /// … or do not even that.
    #[serde(default)]
    pub idles: bool,
    /// … at the hooks of this set of stages; all when empty.
    #[serde(default)]
    pub stages: String,
}

/// How a tool says that it is at work.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// It has given up the right to gain privileges: pktjourney's last step.
    #[default]
    NoNewPrivs,
    /// It has said this. What it says goes to a file meanwhile; else what it writes goes to `/dev/null`.
    Says(String),
}

/// A tool that has started.
pub struct Under {
    running: Running,
    pub start_ms: u128,
}

enum Running {
    Nothing,
    Floor(Box<Loaded>),
    Process(Child),
}

impl Under {
    pub fn start(tool: &Tool, pair: &Pair) -> Result<Self> {
        let begun = Instant::now();
        let running = if let Some(kinds) = &tool.floor {
            Running::Floor(Box::new(floor(kinds, &tool.stages, tool.idles)?))
        } else if tool.command.is_empty() {
            Running::Nothing
        } else {
            Running::Process(process(tool, pair)?)
        };
        Ok(Self {
            running,
            start_ms: begun.elapsed().as_millis(),
        })
    }

    /// Ends it as a user does, and says how long that took, in ms.
    pub fn stop(self) -> Result<u128> {
        let begun = Instant::now();
        match self.running {
            Running::Nothing => {}
            Running::Floor(loaded) => drop(loaded),
            Running::Process(mut child) => {
                let pid = Pid::from_child(&child);
                kill_process(pid, Signal::INT)?;
                if !ended(&mut child)? {
                    child.kill()?;
                    child.wait()?;
                    bail!("a tool did not end in {} s: killed", PATIENCE.as_secs());
                }
            }
        }
        Ok(begun.elapsed().as_millis())
    }
}

fn ended(child: &mut Child) -> Result<bool> {
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(false)
}

fn floor(kinds: &str, stages: &str, idles: bool) -> Result<Loaded> {
    let kinds: Kinds = kinds.parse().map_err(anyhow::Error::msg)?;
    let stages = if stages.is_empty() {
        StageSet::All
    } else {
        stages.parse().map_err(anyhow::Error::msg)?
    };
    let options = probe::Options {
        kinds,
        offsets: offsets::resolve(&Btf::from_kernel()?)?,
        config: trace_ebpf::Config {
            floor_idles: u32::from(idles),
            ..trace_ebpf::Config::default()
        },
        bookends: Vec::new(),
        ring_bytes: 1 << 16,
        only_drops: false,
        stages,
        one_in: NonZeroU32::MIN,
        log: false,
        floor: true,
    };
    Ok(probe::load(&options)?)
}

fn process(tool: &Tool, pair: &Pair) -> Result<Child> {
    let (program, arguments) = tool.command.split_first().context("a program")?;
    let said = tempfile::NamedTempFile::new()?;
    let mut child = Command::new(program)
        .args(
            arguments
                .iter()
                .map(|word| word.replace("{b}", pair.b.name())),
        )
        .stdin(Stdio::null())
        .stdout(match tool.ready {
            Ready::Says(_) => said.reopen()?.into(),
            Ready::NoNewPrivs => Stdio::null(),
        })
        .stderr(said.reopen()?)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let limit = Instant::now() + PATIENCE;
    let words = || {
        let mut words = String::new();
        let _ = fs::File::open(said.path()).and_then(|mut file| file.read_to_string(&mut words));
        words
    };
    loop {
        let ready = match &tool.ready {
            Ready::Says(text) => words().contains(text.as_str()),
            Ready::NoNewPrivs => fs::read_to_string(format!("/proc/{}/status", child.id()))
                .is_ok_and(|status| status.contains("NoNewPrivs:\t1")),
        };
        if ready {
            return Ok(child);
        }
        if let Some(status) = child.try_wait()? {
            bail!(
                "{program} ended before it was at work ({status}): {}",
                words().trim()
            );
        }
        if Instant::now() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{program} was not at work after {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
}
