//! What the kernel did not run: a program that would interrupt itself is skipped, and the kernel counts that
//! (`bpf_prog_info.recursion_misses`, Linux 5.12).

use std::{
    collections::BTreeMap,
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{bpf_cmd, bpf_prog_info};

use crate::kernel::bpf;

/// How often the kernel skipped this program; `None` where it does not count that.
///
/// # Errors
/// The descriptor is no program's, or the kernel refuses.
pub fn of(program: BorrowedFd<'_>) -> io::Result<Option<u64>> {
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
    Ok((attr.info_len as usize >= known).then_some(info.recursion_misses))
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

    /// What each was not run for, those that missed something only.
    pub(super) fn by_program(&self) -> BTreeMap<&str, u64> {
        let mut sum = BTreeMap::new();
        for (name, program) in &self.0 {
            if let Ok(Some(missed @ 1..)) = of(std::os::fd::AsFd::as_fd(program)) {
                *sum.entry(name.as_str()).or_default() += missed;
            }
        }
        sum
    }
}
