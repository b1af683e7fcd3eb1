//! `trace`, `latency`, `drops`: live or from a recording. They differ in the report only.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, start};
use crate::{
    config::{Capture, Output, Probes, Source},
    kernel::privileges::drop_privileges,
    pipeline::{Aim, Pipeline, Preface, Report},
    sink::{self, Sink},
    source::{
        item::Item,
        live::Live,
        names::Learner,
        recording::{Reader, WriteError, Writer},
    },
    stack::meanwhile::Moment,
};

type Out = Box<dyn Sink>;

/// Runs the command; gives the exit code.
pub fn run(report: Report, capture: Capture, output: Output, verbose: u8) -> Result<u8, Failure> {
    let aim = Aim {
        report,
        selection: capture.selection,
        count: capture.count,
        duration: capture.duration,
        max_journeys: capture.max_journeys,
    };
    match capture.source {
        Source::File(path) => replay(&path, aim, output),
        Source::Live(probes) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::System("cannot start the event loop", error))?;
            runtime.block_on(live(
                &probes,
                aim,
                output,
                verbose,
                capture.write.as_deref(),
            ))
        }
    }
}

/// Where results go: to stdout, unless a recording goes there.
fn open_sink(output: Output, stdout_taken: bool) -> Out {
    let out: Box<dyn Write> = if stdout_taken {
        Box::new(io::stderr())
    } else {
        Box::new(io::stdout())
    };
    sink::open(output, BufWriter::with_capacity(1 << 16, out), io::stderr())
}

/// Reads a recording; the output is what the live run would have given.
fn replay(path: &Path, aim: Aim, output: Output) -> Result<u8, Failure> {
    let mut reader = Reader::open(path)?;
    let mut preface: Preface =
        serde_json::from_str(reader.session_json()).map_err(Failure::Preface)?;
    let recorded = preface.session.filter.take();
    preface.session.command = aim.report.name().to_owned();
    preface.session.filter = aim.selection.filter_text.clone();
    let other_filter =
        recorded.filter(|recorded| Some(recorded) != preface.session.filter.as_ref());
    let mut pipeline =
        Pipeline::begin(&preface, aim, open_sink(output, false)).map_err(Failure::Output)?;
    if let Some(filter) = other_filter {
        let message = format!(
            "the recording was made with the filter `{filter}`: other packets may be missing or incomplete"
        );
        pipeline
            .warn("recorded_with_filter", message)
            .map_err(Failure::Output)?;
    }
    let mut last = None;
    let broken = loop {
        match reader.next() {
            Ok(Some(item)) => {
                // The live run that reached its count or its time still took what was in the rings.
                if let (true, Item::Tick { now, counters }) = (pipeline.done(), item) {
                    last = Some(Item::End { now, counters });
                    break None;
                }
                pipeline.step(&item).map_err(Failure::Output)?;
                last = match item {
                    Item::Tick { now, counters } => Some(Item::End { now, counters }),
                    Item::End { .. } => None,
                    Item::Record(_) | Item::Names(_) | Item::Moment(_) => last,
                };
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    // a recording that broke off, or was left early, ends where it was left
    if let Some(end) = last {
        pipeline.step(&end).map_err(Failure::Output)?;
    }
    if let Some(error) = &broken {
        pipeline
            .warn("damaged_recording", error.to_string())
            .map_err(Failure::Output)?;
    }
    pipeline.end().map_err(Failure::Output)?;
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(0),
    }
}

async fn live(
    probes: &Probes,
    aim: Aim,
    output: Output,
    verbose: u8,
    write: Option<&Path>,
) -> Result<u8, Failure> {
    let system = |what| move |error| Failure::System(what, error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("cannot catch SIGINT"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("cannot catch SIGTERM"))?;
    let ending = leave_at_the_second_signal().map_err(system("cannot catch signals"))?;

    let start::Started {
        loaded,
        preface,
        mut watch,
        moment,
    } = start::start(&start::Wanted {
        report: aim.report,
        probes,
        filter: &aim.selection.filter,
        filter_text: aim.selection.filter_text.clone(),
        netns: &aim.selection.netns,
        stacks: output.stacks,
        log: verbose >= 2,
    })?;
    let mut recorder = Recorder::create(write, &preface)?;
    let mut live = Live::new(loaded, preface.session.start_ns, probes.budget)
        .map_err(system("cannot watch the rings"))?;
    let mut learner = Learner::new();
    drop_privileges(probes.budget.is_some()).map_err(system("cannot give up privileges"))?;
    let mut pipeline = Pipeline::begin(
        &preface,
        aim,
        open_sink(output, write == Some(Path::new("-"))),
    )
    .map_err(Failure::Output)?;

    count(&moment, &mut learner, &mut recorder, &mut pipeline)?;
    loop {
        let go_on = tokio::select! {
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
            () = live.due() => true,
        };
        if !go_on {
            break;
        }
        live.turn(|item| step(item, &mut learner, &mut recorder, &mut pipeline))?;
        if pipeline.done() || recorder.failed() {
            break;
        }
    }
    ending.store(true, Ordering::Relaxed);
    // Around the journeys on both sides: what they lost is in what the kernel counted.
    live.stop();
    count(&watch.read(), &mut learner, &mut recorder, &mut pipeline)?;
    live.end(|item| step(item, &mut learner, &mut recorder, &mut pipeline))?;
    let recorded = recorder.finish();
    if let Err(error) = &recorded {
        pipeline
            .warn("recording_failed", error.to_string())
            .map_err(Failure::Output)?;
    }
    pipeline.end().map_err(Failure::Output)?;
    if verbose > 0 {
        tell_missed(&live);
    }
    recorded?;
    Ok(0)
}

/// Which programs the kernel did not always run (`losses.missed`).
#[expect(clippy::print_stderr, reason = "diagnostics belong there")]
fn tell_missed(live: &Live) {
    for (program, missed) in live.missed() {
        eprintln!("{program}: not run {missed} times, as it would have interrupted itself");
    }
}

/// What the kernel counts at a moment, as an item of the live stream.
fn count(
    moment: &Moment,
    learner: &mut Learner,
    recorder: &mut Recorder,
    pipeline: &mut Pipeline<Out>,
) -> Result<(), Failure> {
    let text = serde_json::to_string(moment).map_err(Failure::Preface)?;
    step(Item::Moment(&text), learner, recorder, pipeline)
}

/// One item of the live stream: names it needs first, then into the file and the pipeline alike.
fn step(
    item: Item<'_>,
    learner: &mut Learner,
    recorder: &mut Recorder,
    pipeline: &mut Pipeline<Out>,
) -> Result<(), Failure> {
    if let Item::Record(record) = item
        && let Some(names) = learner.look(record)
    {
        recorder.write(&Item::Names(&names));
        pipeline
            .step(&Item::Names(&names))
            .map_err(Failure::Output)?;
    }
    recorder.write(&item);
    pipeline.step(&item).map_err(Failure::Output)
}

/// The file of `-w`, if there is one. Its first error ends it; the trace goes on to its end.
struct Recorder {
    writer: Option<Writer>,
    error: Option<WriteError>,
}

impl Recorder {
    fn create(path: Option<&Path>, preface: &Preface) -> Result<Self, Failure> {
        let writer = match path {
            None => None,
            Some(path) => {
                let preface = serde_json::to_string(preface).map_err(Failure::Preface)?;
                Some(Writer::create(path, &preface)?)
            }
        };
        Ok(Self {
            writer,
            error: None,
        })
    }

    fn write(&mut self, item: &Item<'_>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let mut done = writer.write(item);
        if let (Ok(()), Item::Tick { now, .. }) = (&done, item) {
            done = writer.flush_if_due(*now);
        }
        if let Err(error) = done {
            self.writer = None;
            self.error = Some(error);
        }
    }

    const fn failed(&self) -> bool {
        self.error.is_some()
    }

    fn finish(self) -> Result<(), WriteError> {
        match (self.error, self.writer) {
            (Some(error), _) => Err(error),
            (None, Some(writer)) => writer.finish(),
            (None, None) => Ok(()),
        }
    }
}

/// The first signal asks for a good end; from then on the next one ends us at once, whatever is going on (a pipe that
/// nobody reads), and the kernel detaches everything. The flag says whether the end has begun: it may do so unasked.
fn leave_at_the_second_signal() -> io::Result<Arc<AtomicBool>> {
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the signal that sets the flag must not find it set.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&ending))?;
        flag::register(signal, Arc::clone(&ending))?;
    }
    Ok(ending)
}
