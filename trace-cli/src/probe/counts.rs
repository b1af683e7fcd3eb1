//! What the kernel counts of our programs (`bpf_prog_info`): what it did not run of them, for a program that would interrupt
//! itself is skipped (Linux 5.12), and the time in them, while its run statistics are on.

use std::{
    collections::BTreeMap,
    fs, io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::sys::{Stats, enable_stats};
use aya_obj::generated::{bpf_cmd, bpf_prog_info};

use crate::kernel::bpf;

/// Of one program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// How often the kernel skipped it (`recursion_misses`); `None` where it does not count that.
    pub missed: Option<u64>,
    /// Nanoseconds in it while statistics were on (`run_time_ns`).
    pub ns: u64,
}

/// What it counts of this program.
///
/// # Errors
/// The descriptor is no program's, or the kernel refuses.
pub fn of(program: BorrowedFd<'_>) -> io::Result<Counts> {
    /// `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    // SAFETY: plain numbers. Zeros ask for nothing but the fixed part.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    let mut attr = Attr {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<bpf_prog_info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` lives until the call returns; the kernel writes `info_len` bytes at most.
    unsafe { bpf::call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD as u32, &mut attr)? };
    // The kernel says how much it knows.
    let known = mem::offset_of!(bpf_prog_info, recursion_misses) + size_of::<u64>();
    Ok(Counts {
        missed: (attr.info_len as usize >= known).then_some(info.recursion_misses),
        ns: info.run_time_ns,
    })
}

/// Switches the kernel's run statistics on for as long as what is given back lives; nothing is given back where they are on
/// for everybody (`kernel.bpf_stats_enabled`).
///
/// # Errors
/// CAP_SYS_ADMIN is missing.
pub fn statistics() -> io::Result<Option<OwnedFd>> {
    let switch = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
    if switch.is_ok_and(|switch| switch.trim() == "1") {
        return Ok(None);
    }
    enable_stats(Stats::RunTime)
        .map(Some)
        .map_err(|error| error.io_error)
}

/// Our programs, by name. A descriptor keeps its program readable after it was detached.
#[derive(Debug, Default)]
pub(super) struct Watched(Vec<(String, OwnedFd)>);

impl Watched {
    /// One more. Two of a name are counted together.
    pub(super) fn add(&mut self, name: String, program: BorrowedFd<'_>) -> io::Result<()> {
        self.0.push((name, program.try_clone_to_owned()?));
        Ok(())
    }

    fn counts(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.0
            .iter()
            .filter_map(|(name, program)| Some((name.as_str(), of(program.as_fd()).ok()?)))
    }

    /// What each was not run for, those that missed something only.
    pub(super) fn missed(&self) -> BTreeMap<&str, u64> {
        let mut sum = BTreeMap::new();
        for (name, counts) in self.counts() {
            if let Some(missed @ 1..) = counts.missed {
                *sum.entry(name).or_default() += missed;
            }
        }
        sum
    }

    /// Nanoseconds in all of them.
    pub(super) fn ns(&self) -> u64 {
        self.counts().map(|(_, counts)| counts.ns).sum()
    }
}
