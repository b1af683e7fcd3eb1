//! Attaches the programs of a loaded object, trying for each hook what is cheapest first.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd as _,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, KProbe, ProgramError, RawTracePoint, links::FdLink},
};

use crate::kernel::switches::Switches;

use super::{
    Kind, Kinds, Options, Row, StageSet, State,
    catalogue::{CATALOGUE, Spec, Target},
    counts::Watched,
};

/// Attaches all that the catalogue names, `options` want and this kernel takes, and says in `rows` how it went. What is given
/// back holds the probes, and what the kernel counts of them.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: &Btf,
    options: &Options,
    rows: &mut Vec<Row>,
) -> (Vec<FdLink>, Watched) {
    let mut attacher = Attacher {
        ebpf,
        btf,
        kinds: options.kinds,
        floor: options.floor,
        links: Vec::new(),
        watched: Watched::default(),
        refused: switched_off(),
        loaded: HashMap::new(),
    };
    let wanted = || {
        CATALOGUE
            .iter()
            .filter(|spec| !options.only_drops || spec.drops)
    };
    let stages = options.stages;
    attacher.load_tracepoints(wanted().filter(|spec| stages.has(spec.name)));
    for spec in wanted() {
        if stages.has(spec.name) {
            attacher.attach(spec, rows);
        } else {
            attacher.leave_out(spec, stages, rows);
        }
    }
    (attacher.links, attacher.watched)
}

struct Attacher<'a> {
    ebpf: &'a mut Ebpf,
    btf: &'a Btf,
    kinds: Kinds,
    floor: bool,
    links: Vec<FdLink>,
    watched: Watched,
    /// Kinds that this kernel or these privileges refuse altogether, and how it said so.
    refused: Vec<(Kind, String)>,
    /// Programs that were loaded beforehand: for what target, and how it went.
    loaded: HashMap<String, (&'static str, Result<(), ProgramError>)>,
}

impl Attacher<'_> {
    /// Loads the programs that will be asked for first, on all CPUs at once: nearly all of the time to start is the
    /// verifier's. Functions are left to [`attach`](Self::attach): often one refusal speaks for all of them.
    fn load_tracepoints<'s>(&mut self, specs: impl Iterator<Item = &'s Spec>) {
        let Some(kind) = self.kinds.for_tracepoint().next() else {
            return;
        };
        if kind != Kind::TpBtf || self.kinds.prefers_functions() || self.floor {
            return;
        }
        let mut targets: HashMap<String, &'static str> = specs
            .filter_map(|spec| match spec.alternatives.first()?.first()? {
                Target::Tracepoint(target) => Some((format!("{}_{kind}", spec.name), *target)),
                Target::Function(_) | Target::Return(_) => None,
            })
            .collect();
        let programs: Vec<_> = self
            .ebpf
            .programs_mut()
            .filter_map(|(name, program)| {
                let (name, target) = targets.remove_entry(name)?;
                Some((name, target, program))
            })
            .collect();
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8);
        let (queue, btf) = (Mutex::new(programs), self.btf);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = || {
            let mut done = Vec::new();
            while let Some((name, target, program)) = next() {
                let program: Result<&mut BtfTracePoint, _> = program.try_into();
                let result = program.and_then(|program| program.load(target, btf));
                done.push((name, (target, result)));
            }
            done
        };
        self.loaded = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let done = workers.into_iter().map(|worker| {
                let done = worker.join();
                done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            done.flatten().collect()
        });
    }

    fn attach(&mut self, spec: &Spec, rows: &mut Vec<Row>) {
        let mut alternatives: Vec<_> = spec.alternatives.iter().collect();
        if self.kinds.prefers_functions() {
            // "kprobes on …": all of a hook's functions, before its tracepoints. Not their returns: of those the
            // kernel follows only so many at a time, and whoever waits in recv() is one.
            alternatives.sort_by_key(|targets| !matches!(targets[0], Target::Function(_)));
        }
        let mut failed = Vec::new();
        for targets in alternatives {
            let tried: Vec<Row> = targets
                .iter()
                .map(|&target| self.target(spec, target))
                .collect();
            if tried.iter().any(|row| row.state == State::Attached) {
                rows.extend(tried);
                return;
            }
            failed.extend(tried);
        }
        rows.extend(failed);
    }

    /// The hook is not wanted: what would be tried first is said to be left out.
    fn leave_out(&self, spec: &Spec, stages: StageSet, rows: &mut Vec<Row>) {
        let why = format!("left out by --stages {stages}");
        for &target in spec.alternatives.first().copied().unwrap_or_default() {
            let kind = self.kinds_for(target).first().copied();
            rows.push(skipped(spec, target, kind, why.clone()));
        }
    }

    /// The kinds that are allowed for a target, best first.
    fn kinds_for(&self, target: Target) -> Vec<Kind> {
        match target {
            Target::Tracepoint(_) => self.kinds.for_tracepoint().collect(),
            Target::Function(_) => self.kinds.for_function().collect(),
            Target::Return(_) => self.kinds.for_return().collect(),
        }
    }

    /// Tries the kinds for one target, best first.
    fn target(&mut self, spec: &Spec, target: Target) -> Row {
        let kinds = self.kinds_for(target);
        let why = "no probe kind that can reach it is allowed by --probes".to_owned();
        let mut row = skipped(spec, target, kinds.last().copied(), why);
        let mut reasons = Vec::new();
        for kind in kinds {
            let result = match self.refused.iter().find(|(refused, _)| *refused == kind) {
                Some((_, why)) => Err(why.clone()),
                None => self.program(spec, target.name(), kind),
            };
            match result {
                Ok(()) => {
                    row.kind = kind;
                    row.state = State::Attached;
                    row.refused = (!reasons.is_empty()).then(|| reasons.join("; "));
                    return row;
                }
                Err(why) => reasons.push(format!("{kind}: {why}")),
            }
        }
        if !reasons.is_empty() {
            row.state = State::Failed(reasons.join("; "));
        }
        row
    }

    fn program(&mut self, spec: &Spec, target: &str, kind: Kind) -> Result<(), String> {
        let mut name = format!("{}_{kind}", spec.name);
        if self.floor && self.ebpf.program(&name).is_some() {
            name = format!("floor_{kind}");
        }
        let beforehand = match self.loaded.get(&name) {
            Some((loaded, _)) if *loaded == target => self.loaded.remove(&name),
            _ => None,
        };
        let Some(program) = self.ebpf.program_mut(&name) else {
            return Err("this kind cannot tell which packet it is about".to_owned());
        };
        let (links, watched) = (&mut self.links, &mut self.watched);
        // aya's programs have these in common, but no trait that says so.
        macro_rules! watch {
            ($program:ident) => {
                watched.add(name.clone(), $program.fd()?.as_fd())?
            };
        }
        // What is loaded for one target is held by its link alone: the program is free for the next target.
        macro_rules! link {
            ($program:ident) => {
                watch!($program);
                let attached = $program.attach().and_then(|id| $program.take_link(id));
                let unloaded = $program.unload();
                links.push(attached?.into());
                unloaded?;
            };
        }
        let result = (|| -> Result<(), ProgramError> {
            match kind {
                Kind::TpBtf => {
                    let program: &mut BtfTracePoint = program.try_into()?;
                    match beforehand {
                        Some((_, result)) => result?,
                        None => program.load(target, self.btf)?,
                    }
                    link!(program);
                }
                Kind::Fentry => {
                    let program: &mut FEntry = program.try_into()?;
                    program.load(target, self.btf)?;
                    link!(program);
                }
                Kind::Fexit => {
                    let program: &mut FExit = program.try_into()?;
                    program.load(target, self.btf)?;
                    link!(program);
                }
                Kind::RawTp => {
                    let program: &mut RawTracePoint = program.try_into()?;
                    if program.fd().is_err() {
                        program.load()?;
                        watch!(program);
                    }
                    program.attach(target)?;
                }
                Kind::Kprobe | Kind::Kretprobe => {
                    let program: &mut KProbe = program.try_into()?;
                    if program.fd().is_err() {
                        program.load()?;
                        watch!(program);
                    }
                    program.attach(target, 0)?;
                }
                Kind::Nf => {}
            }
            Ok(())
        })();
        result.map_err(|error| {
            let why = brief(kind, &error);
            if refuses_all(kind, &error) {
                let same: &[Kind] = match kind {
                    Kind::Fentry | Kind::Fexit => &[Kind::Fentry, Kind::Fexit],
                    Kind::Kprobe | Kind::Kretprobe => &[Kind::Kprobe, Kind::Kretprobe],
                    _ => &[],
                };
                self.refused
                    .extend(same.iter().map(|&kind| (kind, why.clone())));
            }
            why
        })
    }
}

/// Kinds that the administrator has switched off: they would attach, and never be called.
fn switched_off() -> Vec<(Kind, String)> {
    let switches = Switches::read();
    let mut refused = Vec::new();
    for (why, kinds) in [
        (
            switches.no_functions(),
            &[Kind::Fentry, Kind::Fexit, Kind::Kprobe, Kind::Kretprobe][..],
        ),
        (switches.no_kprobes(), &[Kind::Kprobe, Kind::Kretprobe]),
    ] {
        let why = why
            .iter()
            .flat_map(|why| kinds.iter().map(|&kind| (kind, (*why).to_owned())));
        refused.extend(why);
    }
    refused
}

/// A target that was not tried, with the kind that is said of it; else the best one there is.
fn skipped(spec: &Spec, target: Target, kind: Option<Kind>, why: String) -> Row {
    Row {
        hook: spec.name,
        stamp: spec.stamp,
        kind: kind.unwrap_or(match target {
            Target::Tracepoint(_) => Kind::TpBtf,
            Target::Function(_) => Kind::Fentry,
            Target::Return(_) => Kind::Fexit,
        }),
        target: target.name().to_owned(),
        netns: None,
        state: State::Skipped(why),
        refused: None,
    }
}

/// An error of the kernel's own that reaches user space all the same; libc has no name for it.
const ENOTSUPP: i32 = 524;

/// Whether the failure speaks about the kind and not about this one target: then it need not be tried again.
fn refuses_all(kind: Kind, error: &ProgramError) -> bool {
    match kind {
        Kind::Fentry | Kind::Fexit => match error {
            // EACCES is the verifier's, about this one program
            ProgramError::LoadError { io_error, .. } => {
                io_error.raw_os_error() == Some(libc::EPERM)
            }
            // No trampoline can be put onto any function: aarch64 before 6.4.
            ProgramError::SyscallError(error) => error.io_error.raw_os_error() == Some(ENOTSUPP),
            _ => false,
        },
        Kind::Kprobe | Kind::Kretprobe => {
            !Path::new("/sys/bus/event_source/devices/kprobe/type").exists()
        }
        _ => false,
    }
}

/// One line that says what went wrong: the innermost cause, and the verifier's last words.
fn brief(kind: Kind, error: &ProgramError) -> String {
    if matches!(kind, Kind::Kprobe | Kind::Kretprobe) && refuses_all(kind, error) {
        return "this kernel has no kprobes".to_owned();
    }
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        let log = verifier_log.to_string();
        let said = log.lines().rev().map(str::trim).find(|line| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.starts_with("verification time")
                && !line.starts_with("stack depth ")
        });
        let error = plain(io_error);
        return match said {
            Some(said) => format!("refused at load: {error} ({said})"),
            None => format!("refused at load: {error}"),
        };
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let outer = error.to_string();
    let inner = cause.to_string();
    if outer.contains(&inner) {
        outer
    } else {
        format!("{outer}: {inner}")
    }
}

/// The system's words without Rust's "(os error 1)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}
