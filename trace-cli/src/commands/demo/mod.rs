//! `demo`: makes a little network and traffic of its own, follows it, and shows one packet of each kind, where the
//! time goes, and where packets are dropped.
//!
//! The trace is a real one: this same binary, run beside the traffic with `trace -w`, then read back.

mod recording;
mod show;
mod traffic;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use self::{recording::Recording, show::Show};
use super::{Failure, start};
use crate::{
    config::{Output, Probes, Selection},
    filter::Filter,
    lab::{Addresses, LabError, Netns, Router},
    pipeline::{Aim, Pipeline, Preface, Report},
    source::recording::Reader,
};

/// Runs the command; gives the exit code.
pub fn run(probes: &Probes, output: Output) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::System("cannot start the event loop", error))?;
    runtime.block_on(async {
        let caught = |error| Failure::System("cannot catch signals", error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(caught)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(caught)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (probes, stopped) = (probes.clone(), Arc::clone(&stop));
        let (done, mut finished) = oneshot::channel();
        // The thread's name is the sender's in what is shown.
        let work = thread::Builder::new()
            .name("client".to_owned())
            .spawn(move || {
                // Nobody listens only after a panic.
                let _ = done.send(demonstrate(&probes, output, &stopped));
            });
        let work = work.map_err(|error| Failure::System("cannot start a thread", error))?;
        // Ctrl-C must not leave a namespace behind: the work ends at its next step and cleans up.
        let result = tokio::select! {
            result = &mut finished => result,
            _ = interrupt.recv() => { stop.store(true, Ordering::Relaxed); finished.await }
            _ = terminate.recv() => { stop.store(true, Ordering::Relaxed); finished.await }
        };
        if let Err(panic) = work.join() {
            std::panic::resume_unwind(panic);
        }
        result.unwrap_or(Ok(0))
    })
}

/// All of it. Guards clean up, however it ends.
fn demonstrate(probes: &Probes, output: Output, stop: &AtomicBool) -> Result<u8, Failure> {
    let probes = with_netfilter(probes)?;
    let folder = Folder::new()?;
    let file = folder.0.join("demo.pjy");
    say(output, NETWORK);
    let lab = Router::new(Addresses::documentation())?;
    let namespaces = [&lab.a, &lab.router, &lab.b];
    // Packets pass netfilter only where it has something to do.
    let rules = match namespaces.iter().try_for_each(|netns| netns.netfilter()) {
        Ok(()) => true,
        Err(LabError::Missing { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let recording = Recording::start(&file, &probes, &namespaces)?;
    for step in traffic::STEPS {
        if stop.load(Ordering::Relaxed) {
            return Ok(0);
        }
        if rules || !step.needs_nft {
            say(output, step.what);
            (step.make)(&lab)?;
        }
    }
    // What was sent last shall end, too.
    thread::sleep(Duration::from_millis(200));
    recording.finish()?;
    if stop.load(Ordering::Relaxed) {
        return Ok(0);
    }
    show(&file, &namespaces, output)
}

/// The network, for people.
const NETWORK: &str = "A little network of our own:

  host a ──────────────────── router ──────────────────── host b
  192.0.2.1        192.0.2.254 · 198.51.100.254     198.51.100.2
  2001:db8:0:1::1           (…::fe on both)      2001:db8:0:2::2
";

/// Where no function can be probed, netfilter is seen by bookends: they are for namespaces of our own.
fn with_netfilter(probes: &Probes) -> Result<Probes, Failure> {
    let started = start::start(&start::Wanted {
        report: Report::Trace,
        probes,
        filter: &Filter::default(),
        filter_text: None,
        netns: &[],
        stacks: true,
        log: false,
    })?;
    let mut probes = probes.clone();
    probes.kinds.nf |= !started.loaded.plan.attached("nf_enter");
    Ok(probes)
}

/// Messages are not results.
#[expect(clippy::print_stderr, reason = "this command's messages")]
fn say(output: Output, what: &str) {
    if !output.json {
        eprintln!("{what}");
    }
}

/// Reads the recording back and shows it.
fn show(file: &Path, namespaces: &[&Netns], output: Output) -> Result<u8, Failure> {
    let mut reader = Reader::open(file)?;
    let mut preface: Preface =
        serde_json::from_str(reader.session_json()).map_err(Failure::Preface)?;
    "demo".clone_into(&mut preface.session.command);
    let aim = Aim {
        report: Report::Trace,
        selection: Selection {
            filter: Filter::default(),
            filter_text: None,
            interface: None,
            netns: namespaces
                .iter()
                .map(|netns| netns.name().to_owned())
                .collect(),
            min_latency: Duration::ZERO,
            only_drops: false,
        },
        count: None,
        duration: None,
        max_journeys: 1 << 16,
    };
    let mut pipeline =
        Pipeline::begin(&preface, aim, Show::new(output)).map_err(Failure::Output)?;
    while let Some(item) = reader.next()? {
        pipeline.step(&item).map_err(Failure::Output)?;
    }
    pipeline.end().map_err(Failure::Output)?;
    Ok(0)
}

/// A folder for the recording.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("pktjourney-demo-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| Failure::System("cannot make a temporary folder", error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
