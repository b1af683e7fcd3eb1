//! The system call behind BPF, for the few commands that aya does not have.

use std::io;

/// `bpf(command, attr, sizeof attr)`: gives what the kernel returns, a descriptor or 0.
///
/// # Errors
/// What the kernel refuses it with.
///
/// # Safety
/// `attr` is laid out as the head of `union bpf_attr` for this command, and all it points to lives until the call returns.
pub unsafe fn call<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: as promised by the caller; the kernel reads and writes no more than the size it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
