//! What a program may be short of: capabilities, the kernel's BTF, kprobes. Each is made real for a command that is to be started, and
//! for nothing else where the kernel has it so.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::XattrFlags,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::{Resource, Rlimit, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags, configure_capability_in_ambient_set,
        set_capabilities, set_keep_capabilities, set_thread_gid, set_thread_groups, set_thread_uid,
        unshare_unsafe,
    },
};

use super::LabError;

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;
/// Function tracing, switched as a whole.
pub const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
/// All kprobes, switched at once.
pub const KPROBES: &str = "/sys/kernel/debug/kprobes/enabled";

/// Makes a command run as nobody, with these capabilities and no others; it is still so after `exec`. Needs root.
pub fn as_nobody(command: &mut Command, held: CapabilitySet) -> &mut Command {
    let become_nobody = move || {
        set_keep_capabilities(true)?;
        set_thread_groups(&[])?;
        set_thread_gid(Gid::from_raw(NOBODY))?;
        set_thread_uid(Uid::from_raw(NOBODY))?;
        let sets = CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: held,
        };
        set_capabilities(None, sets)?;
        for one in held.iter() {
            configure_capability_in_ambient_set(one, true)?;
        }
        Ok(())
    };
    // SAFETY: system calls only; nothing is allocated and no lock taken between fork and exec.
    unsafe { command.pre_exec(become_nobody) }
}

/// Limits the memory that a command may lock, which before Linux 5.11 is what maps may take.
pub fn with_locked_memory(command: &mut Command, bytes: u64) -> &mut Command {
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Memlock, limit)?)) }
}

/// Hides the kernel's BTF from a command, as on a kernel that has none. Needs root.
pub fn without_btf(command: &mut Command) -> &mut Command {
    let hide = || {
        // SAFETY: this process has one thread, as it was just forked; the mounts are its own from here on.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change(
            c"/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        mount(
            c"none",
            c"/sys/kernel/btf",
            c"tmpfs",
            MountFlags::empty(),
            None,
        )?;
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(hide) }
}

/// Gives a program file capabilities, permitted and effective, as `setcap …+ep` does.
pub fn grant(program: &Path, held: CapabilitySet) -> Result<(), LabError> {
    const REVISION_2: u32 = 0x0200_0000;
    const EFFECTIVE: u32 = 1;
    let bits = held.bits();
    // struct vfs_cap_data: permitted and inheritable, first their lower 32 bits
    let words = [
        REVISION_2 | EFFECTIVE,
        bits as u32,
        0,
        (bits >> 32) as u32,
        0,
    ];
    let value: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let what = || format!("grant capabilities to {}", program.display());
    rustix::fs::setxattr(program, c"security.capability", &value, XattrFlags::empty())
        .map_err(|error| LabError::io(what())(io::Error::from(error)))
}

/// A switch of the kernel that is off as long as this lives. The whole machine feels it: only in guests.
#[derive(Debug)]
pub struct Off {
    path: PathBuf,
    before: String,
}

impl Off {
    /// Writes a zero into the file.
    pub fn switch(path: &str) -> Result<Self, LabError> {
        let path = PathBuf::from(path);
        let before =
            fs::read_to_string(&path).map_err(LabError::io(format!("read {}", path.display())))?;
        fs::write(&path, "0").map_err(LabError::io(format!("write {}", path.display())))?;
        Ok(Self { path, before })
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        // A guard cannot fail; what comes next will.
        let _ = fs::write(&self.path, &self.before);
    }
}
