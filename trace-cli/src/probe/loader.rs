//! Loads the eBPF object with its maps and has it attached; what is loaded then.

use std::{collections::BTreeMap, io, num::NonZeroU32, os::fd::OwnedFd, thread};

use aya::{
    Btf, Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Array, ArrayOfMaps, Map, MapData, PerCpuArray, RingBuf},
    programs::{
        Program, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _, links::FdLink,
    },
};
use aya_log::EbpfLogger;
use trace_ebpf::{
    COUNTERS, Config, FOLLOWED_SOCKETS, Hook, Offsets, READINGS_KEPT, Reading, sample,
};

use crate::kernel::netns;

use super::{
    Kind, Kinds, Plan, Row, StageSet, State,
    attach::attach,
    counts::Watched,
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

/// How often a CPU is swept anew where a hook was at work.
const TRIES: u32 = 8;

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
    /// One flow in so many is followed, where `config.sample` says that not all are.
    pub one_in: NonZeroU32,
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
    /// Size of each, bytes.
    pub ring_bytes: u32,
    ebpf: Ebpf,
    log: Option<EbpfLogger<ToStderr>>,
    cpus: Vec<u32>,
    links: Vec<FdLink>,
    bookends: Vec<OwnedFd>,
    watched: Watched,
    one_in: NonZeroU32,
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

    set_sample(&mut ebpf, options.one_in)?;

    let cpus = aya::util::online_cpus().map_err(|(_, error)| Error::Cpus(error))?;
    let rings = make_rings(&mut ebpf, &cpus, options.ring_bytes)?;

    let mut plan = Plan::default();
    let (links, mut watched) = attach(&mut ebpf, &btf, options, &mut plan.rows);
    load_sweeper(&mut ebpf)?;
    let bookends = if options.kinds.nf {
        attach_bookends(options, &config, &ebpf, &mut plan.rows, &mut watched)
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
        ring_bytes: options.ring_bytes,
        ebpf,
        cpus,
        links,
        bookends,
        watched,
        one_in: options.one_in,
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

/// Of how many flows the programs follow one.
fn set_sample(ebpf: &mut Ebpf, one_in: NonZeroU32) -> Result<(), Error> {
    set(ebpf, "SAMPLE_LIMIT", sample::limit(one_in))
}

/// Forgets what is known of sockets: those whose flows are followed are noted anew with the next packet.
fn forget_sockets(ebpf: &mut Ebpf) -> Result<(), Error> {
    set(ebpf, "FOLLOWED", [0_u8; FOLLOWED_SOCKETS])?;
    set(ebpf, "READINGS", [Reading::default(); READINGS_KEPT])
}

/// Fills an array of one entry.
fn set<T: Pod>(ebpf: &mut Ebpf, name: &'static str, value: T) -> Result<(), Error> {
    let wrong = || Error::Map(name, "the object has no such map".into());
    let map = ebpf.map_mut(name).ok_or_else(wrong)?;
    let mut array: Array<_, T> = map.try_into().map_err(map_error(name))?;
    array.set(0, value, 0).map_err(map_error(name))
}

fn load_sweeper(ebpf: &mut Ebpf) -> Result<(), Error> {
    let program: &mut RawTracePoint = ebpf
        .program_mut(SWEEPER)
        .ok_or_else(|| Error::Map(SWEEPER, "the object has no such program".into()))?
        .try_into()
        .map_err(map_error(SWEEPER))?;
    program.load().map_err(map_error(SWEEPER))
}

fn attach_bookends(
    options: &Options,
    config: &Config,
    ebpf: &Ebpf,
    rows: &mut Vec<Row>,
    watched: &mut Watched,
) -> Vec<OwnedFd> {
    let globals: [(&'static str, &[u8]); 3] = [
        ("OFFSETS", bytes_of(&options.offsets)),
        ("CONFIG", bytes_of(config)),
        (aya_log::LEVEL, if options.log { &[0xff] } else { &[0] }),
    ];
    let mut held = Vec::new();
    let programs = Bookends::load(OBJECT, &globals, ebpf);
    for (name, program) in programs.iter().flat_map(Bookends::programs) {
        // without a descriptor of its own it is not counted, and works all the same
        let _ = watched.add(name.to_owned(), program);
    }
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
                        refused: None,
                    });
                }
            }
        }
    }
    held
}

fn bytes_of<T: Pod>(value: &T) -> &[u8] {
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
            swept &= (0..TRIES).any(|_| run());
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
        self.watched.missed()
    }

    /// Nanoseconds in all attached programs, as far as the kernel [counted](super::counts::statistics).
    pub fn programs_ns(&self) -> u64 {
        self.watched.ns()
    }

    /// CPUs of this machine.
    pub fn cpus(&self) -> u32 {
        self.cpus.len() as u32
    }

    /// One flow in so many is followed.
    pub const fn one_in(&self) -> NonZeroU32 {
        self.one_in
    }

    /// Follows one flow in so many from now on.
    ///
    /// # Errors
    /// The kernel refuses; then it is as before.
    pub fn follow(&mut self, one_in: NonZeroU32) -> Result<(), Error> {
        set_sample(&mut self.ebpf, one_in)?;
        let fewer = one_in > self.one_in;
        self.one_in = one_in;
        if fewer {
            forget_sockets(&mut self.ebpf)?;
        }
        Ok(())
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
