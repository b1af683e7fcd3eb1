//! Loads the eBPF object and attaches its programs, trying for each hook what is cheapest first.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{ArrayOfMaps, Map, MapData, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint,
        RawTracePointRunOptions, TestRun as _, links::FdLink,
    },
};
use aya_log::EbpfLogger;
use trace_ebpf::{COUNTERS, Config, Hook, Offsets};

use crate::kernel::{netns, switches::Switches};

use super::{
    Kind, Kinds, Plan, Row, StageSet, State,
    catalogue::{CATALOGUE, Spec, Target},
    missed::Watched,
    netfilter::{Bookends, FAMILIES, HOOKS},
};

/// The compiled programs: made by `cargo xtask build-ebpf`, kept in the repository so that users need no
/// eBPF tool chain.
static OBJECT: &[u8] = include_bytes_aligned!("../../ebpf/pktjourney.bpf.o");

/// The program that user space runs on each CPU: sends what is idle or old.
const SWEEPER: &str = "sweep";
/// A slot is idle when nobody has touched it for so long …
const IDLE_NS: u64 = 10_000_000;
/// … and old when it was opened so long ago: half as long as user space waits for it (`journey::assembler::Limits::hold_ns`).
const OLD_NS: u64 = 50_000_000;

/// What to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Probe kinds allowed.
    pub kinds: Kinds,
    /// Offsets of this kernel's structure members.
    pub offsets: Offsets,
    /// What the programs shall do.
    pub config: Config,
    /// Namespaces that get netfilter bookends, by name or file; `None` is our own.
    pub bookends: Vec<Option<String>>,
    /// Size of each CPU's ring, bytes; a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Attach only what sees drops.
    pub only_drops: bool,
    /// Attach only the hooks of this set.
    pub stages: StageSet,
    /// Let the programs log (aya-log). Otherwise the verifier removes the code.
    pub log: bool,
    /// Attach programs that only read the clock, at the same hooks: the least that any tracer costs (`cargo xtask bench`).
    pub floor: bool,
}

/// Why nothing could be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's BTF cannot be read by aya.
    #[error("cannot read the kernel's BTF")]
    Btf(#[source] aya::BtfError),
    /// The maps or the object.
    #[error("cannot load the eBPF object")]
    Object(#[source] Box<aya::EbpfError>),
    /// A map is not as it should be.
    #[error("cannot set up the map {0}")]
    Map(
        &'static str,
        #[source] Box<dyn std::error::Error + Send + Sync>,
    ),
    /// No probe could be attached.
    #[error("this kernel accepted none of our probes; the first refusal: {0}")]
    NothingAttached(String),
    /// The list of CPUs cannot be read.
    #[error("cannot read the list of CPUs")]
    Cpus(#[source] io::Error),
}

impl Error {
    /// Whether it is the kernel that says "not permitted".
    pub fn is_permission(&self) -> bool {
        let mut cause: Option<&dyn std::error::Error> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.raw_os_error() == Some(libc::EPERM);
            }
            cause = error.source();
        }
        false
    }
}

/// Programs in place. Dropping it detaches everything; so does the kernel when we are killed.
pub struct Loaded {
    /// What was attached where.
    pub plan: Plan,
    /// One ring for each CPU.
    pub rings: Vec<RingBuf<MapData>>,
    ebpf: Ebpf,
    log: Option<EbpfLogger<ToStderr>>,
    cpus: Vec<u32>,
    links: Vec<FdLink>,
    bookends: Vec<OwnedFd>,
    watched: Watched,
}

/// Loads and attaches everything that the catalogue names and this kernel takes.
pub fn load(options: &Options) -> Result<Loaded, Error> {
    // aya's loader reads the kernel's BTF for itself, wanted or not: 40 ms each.
    let (mut loader, btf) = thread::scope(|scope| {
        let btf = scope.spawn(Btf::from_sys_fs);
        (EbpfLoader::new(), btf.join())
    });
    let btf = match btf {
        Ok(btf) => btf.map_err(Error::Btf)?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let log_level: u8 = if options.log { 0xff } else { 0 };
    let config = Config {
        ring_bytes: options.ring_bytes,
        aarch64: u32::from(cfg!(target_arch = "aarch64")),
        ..options.config
    };
    let mut ebpf = loader
        .btf(Some(&btf))
        .override_global("OFFSETS", &options.offsets, true)
        .override_global("CONFIG", &config, true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .load(OBJECT)
        .map_err(|error| Error::Object(Box::new(error)))?;

    let cpus = aya::util::online_cpus().map_err(|(_, error)| Error::Cpus(error))?;
    let rings = make_rings(&mut ebpf, &cpus, options.ring_bytes)?;

    let mut attacher = Attacher {
        ebpf: &mut ebpf,
        btf: &btf,
        kinds: options.kinds,
        floor: options.floor,
        links: Vec::new(),
        watched: Watched::default(),
        refused: switched_off(),
        loaded: HashMap::new(),
    };
    let mut plan = Plan::default();
    let wanted = || {
        CATALOGUE
            .iter()
            .filter(|spec| !options.only_drops || spec.drops)
    };
    let stages = options.stages;
    attacher.load_tracepoints(wanted().filter(|spec| stages.has(spec.name)));
    for spec in wanted() {
        if stages.has(spec.name) {
            attacher.attach(spec, &mut plan.rows);
        } else {
            attacher.leave_out(spec, stages, &mut plan.rows);
        }
    }
    let Attacher { links, watched, .. } = attacher;
    load_sweeper(&mut ebpf)?;
    let bookends = if options.kinds.nf {
        attach_bookends(options, &config, &ebpf, &mut plan.rows)
    } else {
        Vec::new()
    };
    if !plan.rows.iter().any(|row| row.state == State::Attached) {
        let first = plan.rows.iter().find_map(|row| match &row.state {
            State::Failed(why) => Some(format!("{} {}: {why}", row.kind, row.target)),
            _ => None,
        });
        return Err(Error::NothingAttached(
            first.unwrap_or_else(|| "no hook was tried".to_owned()),
        ));
    }
    let log = if options.log {
        open_log(&mut ebpf)
    } else {
        None
    };
    Ok(Loaded {
        plan,
        log,
        rings,
        ebpf,
        cpus,
        links,
        bookends,
        watched,
    })
}

/// What the programs say about themselves goes to stderr, as the kernel side's own lines.
#[derive(Debug)]
struct ToStderr;

impl log::Log for ToStderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    #[expect(clippy::print_stderr, reason = "diagnostics belong there")]
    fn log(&self, record: &log::Record<'_>) {
        eprintln!("ebpf {}: {}", record.level(), record.args());
    }
    fn flush(&self) {}
}

/// None where no program that was kept can log.
fn open_log(ebpf: &mut Ebpf) -> Option<EbpfLogger<ToStderr>> {
    EbpfLogger::init_with_logger(ebpf, ToStderr).ok()
}

fn map_error<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    name: &'static str,
) -> impl Fn(E) -> Error {
    move |error| Error::Map(name, error.into())
}

fn make_rings(ebpf: &mut Ebpf, cpus: &[u32], bytes: u32) -> Result<Vec<RingBuf<MapData>>, Error> {
    let wrong = || Error::Map("RINGS", "the object has no such map".into());
    let outer = ebpf.map_mut("RINGS").ok_or_else(wrong)?;
    let mut outer: ArrayOfMaps<_, RingBuf<MapData>> =
        ArrayOfMaps::try_from(outer).map_err(map_error("RINGS"))?;
    let mut rings = Vec::with_capacity(cpus.len());
    for &cpu in cpus {
        const BPF_MAP_TYPE_RINGBUF: u32 = 27;
        let ring = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF, 0, 0, bytes, 0);
        let ring = MapData::create(ring, "ring", None).map_err(map_error("ring"))?;
        let ring: RingBuf<MapData> = Map::RingBuf(ring).try_into().map_err(map_error("ring"))?;
        outer.set(cpu, &ring, 0).map_err(map_error("RINGS"))?;
        rings.push(ring);
    }
    Ok(rings)
}

fn load_sweeper(ebpf: &mut Ebpf) -> Result<(), Error> {
    let program: &mut RawTracePoint = ebpf
        .program_mut(SWEEPER)
        .ok_or_else(|| Error::Map(SWEEPER, "the object has no such program".into()))?
        .try_into()
        .map_err(map_error(SWEEPER))?;
    program.load().map_err(map_error(SWEEPER))
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
        let result = (|| -> Result<(), ProgramError> {
            match kind {
                Kind::TpBtf => {
                    let program: &mut BtfTracePoint = program.try_into()?;
                    match beforehand {
                        Some((_, result)) => result?,
                        None => program.load(target, self.btf)?,
                    }
                    self.watched.add(name.clone(), program.fd()?.as_fd())?;
                    let attached = program.attach().and_then(|id| program.take_link(id));
                    let unloaded = program.unload();
                    self.links.push(attached?.into());
                    unloaded?;
                }
                Kind::Fentry => {
                    let program: &mut FEntry = program.try_into()?;
                    program.load(target, self.btf)?;
                    self.watched.add(name.clone(), program.fd()?.as_fd())?;
                    let attached = program.attach().and_then(|id| program.take_link(id));
                    let unloaded = program.unload();
                    self.links.push(attached?.into());
                    unloaded?;
                }
                Kind::Fexit => {
                    let program: &mut FExit = program.try_into()?;
                    program.load(target, self.btf)?;
                    self.watched.add(name.clone(), program.fd()?.as_fd())?;
                    let attached = program.attach().and_then(|id| program.take_link(id));
                    let unloaded = program.unload();
                    self.links.push(attached?.into());
                    unloaded?;
                }
                Kind::RawTp => {
                    let program: &mut RawTracePoint = program.try_into()?;
                    if program.fd().is_err() {
                        program.load()?;
                        self.watched.add(name.clone(), program.fd()?.as_fd())?;
                    }
                    program.attach(target)?;
                }
                Kind::Kprobe | Kind::Kretprobe => {
                    let program: &mut KProbe = program.try_into()?;
                    if program.fd().is_err() {
                        program.load()?;
                        self.watched.add(name.clone(), program.fd()?.as_fd())?;
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
    }
}

/// Whether the failure speaks about the kind and not about this one target: then it need not be tried again.
fn refuses_all(kind: Kind, error: &ProgramError) -> bool {
    match kind {
        Kind::Fentry | Kind::Fexit => matches!(
            error,
            // EACCES is the verifier's, about this one program
            ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM)
        ),
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

fn attach_bookends(
    options: &Options,
    config: &Config,
    ebpf: &Ebpf,
    rows: &mut Vec<Row>,
) -> Vec<OwnedFd> {
    let globals: [(&'static str, &[u8]); 3] = [
        ("OFFSETS", bytes_of(&options.offsets)),
        ("CONFIG", bytes_of(config)),
        (aya_log::LEVEL, if options.log { &[0xff] } else { &[0] }),
    ];
    let mut held = Vec::new();
    let programs = Bookends::load(OBJECT, &globals, ebpf);
    for namespace in &options.bookends {
        for (family, family_name) in FAMILIES {
            let linked: Vec<Result<[OwnedFd; 2], String>> = match &programs {
                Err(error) => HOOKS.iter().map(|_| Err(error.to_string())).collect(),
                Ok(programs) => {
                    let link = || {
                        (0..HOOKS.len() as u32)
                            .map(|hook| {
                                programs
                                    .link(family, hook)
                                    .map_err(|error| error.to_string())
                            })
                            .collect()
                    };
                    match namespace {
                        None => link(),
                        Some(name) => netns::enter(name, link).unwrap_or_else(|error| {
                            HOOKS.iter().map(|_| Err(error.to_string())).collect()
                        }),
                    }
                }
            };
            for (hook, result) in HOOKS.iter().zip(linked) {
                let state = match result {
                    Ok(links) => {
                        held.extend(links);
                        State::Attached
                    }
                    Err(why) => State::Failed(why),
                };
                for (place, stamp) in [("nf_first", Hook::NfEnter), ("nf_last", Hook::NfLeave)] {
                    rows.push(Row {
                        hook: place,
                        stamp: Some(stamp),
                        kind: Kind::Nf,
                        target: format!("{family_name} {hook}"),
                        netns: Some(namespace.clone().unwrap_or_else(|| "own".to_owned())),
                        state: state.clone(),
                    });
                }
            }
        }
    }
    held
}

fn bytes_of<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: `T` is plain data without padding (aya::Pod), and lives as long as the slice.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Whether a program could not be run since its CPU has left: that has nothing to send (`bpf_prog_test_run_raw_tp`).
fn went_offline(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(error) = error else {
        return false;
    };
    error.io_error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

impl Loaded {
    /// Sends the slots that nobody has touched for a while (or, at the end, all of them). False when a CPU
    /// could not be swept, because a hook was at work there.
    pub fn sweep(&mut self, all: bool) -> bool {
        let program = self.ebpf.program(SWEEPER);
        let program: Option<&RawTracePoint> = program.and_then(|program| program.try_into().ok());
        let Some(program) = program else { return false };
        let mut args = [0; 12];
        if !all {
            args[..2].copy_from_slice(&[IDLE_NS, OLD_NS]);
        }
        // At the end no hook is left that could be in the way for long.
        let tries = if all { 1000 } else { 8 };
        let mut swept = true;
        for &cpu in &self.cpus {
            let run = || {
                let options = RawTracePointRunOptions {
                    args,
                    cpu: Some(cpu),
                };
                match program.test_run(options) {
                    Ok(result) => result.return_value == 0,
                    Err(error) => went_offline(&error),
                }
            };
            // A hook takes well under a microsecond.
            swept &= (0..tries).any(|_| run());
        }
        swept
    }

    /// Prints what the programs have logged (`-vv`).
    pub fn print_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// How often the kernel did not run which of our programs, since it would have interrupted itself. Those that
    /// missed nothing are left out.
    pub fn missed(&self) -> BTreeMap<&str, u64> {
        self.watched.by_program()
    }

    /// The programs' counters, summed over all CPUs, by [`trace_ebpf::Counter`].
    pub fn counters(&self) -> [u64; COUNTERS as usize] {
        let mut sum = [0; COUNTERS as usize];
        let counters = self
            .ebpf
            .map("COUNTERS")
            .and_then(|map| PerCpuArray::<_, [u64; COUNTERS as usize]>::try_from(map).ok());
        if let Some(values) = counters.and_then(|counters| counters.get(&0, 0).ok()) {
            for cpu in values.iter() {
                for (sum, value) in sum.iter_mut().zip(cpu) {
                    *sum += value;
                }
            }
        }
        sum
    }

    /// Detaches every probe. Rings, counters and the sweeper stay usable.
    pub fn detach(&mut self) {
        self.links.clear();
        self.bookends.clear();
        for (name, program) in self.ebpf.programs_mut() {
            // a failure here means that it was not loaded
            let _ = match program {
                Program::RawTracePoint(program) if name != SWEEPER => program.unload(),
                Program::KProbe(program) => program.unload(),
                _ => Ok(()),
            };
        }
    }
}
