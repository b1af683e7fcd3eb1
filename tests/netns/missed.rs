//! What the kernel says it did not run, against a program that is known to interrupt itself.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use pktjourney::{kernel, probe::counts};

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_TEST_RUN: u32 = 10;
const BPF_RAW_TRACEPOINT_OPEN: u32 = 17;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// Reads a user's address that nobody has: a page fault inside the kernel, which fails in good order.
#[rustfmt::skip]
const FAULTS: [u64; 7] = [
    insn(0xbf, 1, 10, 0, 0),   // r1 = r10
    insn(0x07, 1, 0, 0, -8),   // r1 -= 8
    insn(0xb7, 2, 0, 0, 8),    // r2 = 8
    insn(0xb7, 3, 0, 0, 8),    // r3 = address 8
    insn(0x85, 0, 0, 0, 112),  // bpf_probe_read_user(r1, r2, r3)
    insn(0xb7, 0, 0, 0, 0),    // r0 = 0
    insn(0x95, 0, 0, 0, 0),    // exit
];

const fn insn(code: u64, dst: u64, src: u64, offset: u64, value: i32) -> u64 {
    code | dst << 8 | src << 12 | offset << 16 | (value as u32 as u64) << 32
}

fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is laid out as the command wants it, and all it points to lives until the call returns.
    unsafe { kernel::bpf::call(command, attr) }
}

fn load() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
    }
    let fd = bpf(
        BPF_PROG_LOAD,
        &mut Attr {
            prog_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
            insn_cnt: FAULTS.len() as u32,
            insns: FAULTS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
        },
    )?;
    // SAFETY: a descriptor the kernel has just given us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(program: &OwnedFd) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        name: u64,
        prog_fd: u32,
        spare: u32,
    }
    let fd = bpf(
        BPF_RAW_TRACEPOINT_OPEN,
        &mut Attr {
            name: c"page_fault_kernel".as_ptr() as u64,
            prog_fd: program.as_raw_fd() as u32,
            spare: 0,
        },
    )?;
    // SAFETY: a descriptor the kernel has just given us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn run(program: &OwnedFd) -> io::Result<()> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        prog_fd: u32,
        numbers: [u32; 5],
        data: [u64; 2],
        repeat: [u32; 2],
        context_sizes: [u32; 2],
        context: [u64; 2],
    }
    bpf(
        BPF_PROG_TEST_RUN,
        &mut Attr {
            prog_fd: program.as_raw_fd() as u32,
            ..Attr::default()
        },
    )?;
    Ok(())
}

/// Whether the kernel keeps a raw tracepoint's program from interrupting itself (6.2): the others would fault
/// until the stack is full.
fn safe() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(2))
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_kernel_says_what_it_did_not_run() -> io::Result<()> {
    if !cfg!(target_arch = "x86_64") || !safe() {
        eprintln!("skipped: no page fault may be followed on this kernel");
        return Ok(());
    }
    const RUNS: u64 = 10;
    let program = load()?;
    assert_eq!(counts::of(program.as_fd())?.missed, Some(0));
    let link = attach(&program)?;
    // Run by us, it faults; so the tracepoint runs it; so it faults again, and is not run.
    for _ in 0..RUNS {
        run(&program)?;
    }
    drop(link);
    let missed = counts::of(program.as_fd())?.missed;
    // Others' page faults inside the kernel count, too.
    assert!(missed >= Some(RUNS), "{missed:?}");
    let file = std::fs::File::open("/dev/null")?;
    assert!(counts::of(file.as_fd()).is_err());
    Ok(())
}
