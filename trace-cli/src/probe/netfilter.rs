//! Netfilter bookends: two programs (`BPF_PROG_TYPE_NETFILTER`, Linux 6.4) at the first and the last priority of
//! each netfilter hook. aya 0.14 knows neither the program type nor its link, so both system calls
//! are made here; the programs come from the same object, relocated by aya-obj against the maps that aya made.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya::Ebpf;
use aya_obj::generated::bpf_insn;

use crate::kernel::bpf;

/// `enum bpf_cmd`
const BPF_PROG_LOAD: u32 = 5;
const BPF_LINK_CREATE: u32 = 28;
/// `enum bpf_prog_type`
const BPF_PROG_TYPE_NETFILTER: u32 = 32;
/// `enum bpf_attach_type`
const BPF_NETFILTER: u32 = 45;

/// The protocol families and hooks that get bookends.
pub const FAMILIES: [(u32, &str); 2] = [(2, "ip"), (10, "ip6")];
/// Netfilter's hooks, by number.
pub const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// The two programs, loaded.
pub struct Bookends {
    first: OwnedFd,
    last: OwnedFd,
}

/// Why bookends cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object in this binary is not what we think it is.
    #[error("cannot prepare the netfilter programs: {0}")]
    Prepare(String),
    /// Before 6.4.
    #[error("this kernel has no netfilter programs (they came with Linux 6.4)")]
    None,
    /// Neither CAP_NET_ADMIN nor CAP_SYS_ADMIN.
    #[error(
        "not permitted: CAP_NET_ADMIN is missing; run as root (sudo), or add cap_net_admin with setcap"
    )]
    Privilege,
    /// The kernel says no.
    #[error("the kernel refuses the netfilter program `{name}`: {source}{log}")]
    Load {
        /// The program.
        name: &'static str,
        /// What it said.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
}

impl Bookends {
    /// Loads both programs of `object`, whose maps aya has already made in `ebpf`.
    pub fn load(
        object: &[u8],
        globals: &[(&'static str, &[u8])],
        ebpf: &Ebpf,
    ) -> Result<Self, Error> {
        let prepare = |error: &dyn std::fmt::Display| Error::Prepare(error.to_string());
        let mut parsed = aya_obj::Object::parse(object).map_err(|e| prepare(&e))?;
        let globals = globals
            .iter()
            .map(|&(name, bytes)| (name, (bytes, true)))
            .collect();
        parsed.patch_map_data(globals).map_err(|e| prepare(&e))?;
        let sections: HashSet<usize> = parsed
            .functions
            .keys()
            .map(|&(section, _)| section)
            .collect();
        let maps: Vec<(String, RawFd, aya_obj::Map)> = parsed
            .maps
            .drain()
            .filter_map(|(name, map)| map_fd(ebpf, &name).map(|fd| (name, fd, map)))
            .collect();
        parsed
            .relocate_maps(
                maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
                &sections,
            )
            .map_err(|e| prepare(&e))?;
        parsed.relocate_calls(&sections).map_err(|e| prepare(&e))?;
        let load = |name: &'static str| {
            let program = parsed
                .programs
                .get(name)
                .ok_or_else(|| Error::Prepare(format!("no program `{name}`")))?;
            let function = parsed
                .functions
                .get(&program.function_key())
                .ok_or_else(|| Error::Prepare(format!("no code for `{name}`")))?;
            prog_load(name, &function.instructions)
        };
        Ok(Self {
            first: load("nf_first")?,
            last: load("nf_last")?,
        })
    }

    /// Both programs, with their names.
    pub fn programs(&self) -> [(&'static str, BorrowedFd<'_>); 2] {
        [
            ("nf_first", self.first.as_fd()),
            ("nf_last", self.last.as_fd()),
        ]
    }

    /// Links both programs to one hook of the calling thread's network namespace. Closing what is
    /// returned unlinks them.
    pub fn link(&self, family: u32, hook: u32) -> io::Result<[OwnedFd; 2]> {
        // the very first and last priorities are the kernel's own (nf_bpf_link.c)
        Ok([
            link_create(&self.first, family, hook, i32::MIN + 1)?,
            link_create(&self.last, family, hook, i32::MAX - 1)?,
        ])
    }
}

fn map_fd(ebpf: &Ebpf, name: &str) -> Option<RawFd> {
    use aya::maps::Map;
    let data = match ebpf.map(name)? {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::RingBuf(data)
        | Map::Unsupported(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd().as_raw_fd())
}

fn prog_load(name: &'static str, instructions: &[bpf_insn]) -> Result<OwnedFd, Error> {
    /// The head of `union bpf_attr` for BPF_PROG_LOAD, up to `expected_attach_type`.
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let mut prog_name = [0; 16];
    prog_name[..name.len()].copy_from_slice(name.as_bytes());
    let mut log = vec![0u8; 0];
    loop {
        let mut attr = Attr {
            prog_type: BPF_PROG_TYPE_NETFILTER,
            insn_cnt: instructions.len() as u32,
            insns: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: log.len() as u32,
            log_buf: if log.is_empty() {
                0
            } else {
                log.as_mut_ptr() as u64
            },
            kern_version: 0,
            prog_flags: 0,
            prog_name,
            prog_ifindex: 0,
            expected_attach_type: BPF_NETFILTER,
        };
        // SAFETY: all that `attr` points to lives until the call returns.
        let source = match unsafe { bpf::call(BPF_PROG_LOAD, &mut attr) } {
            // SAFETY: a descriptor the kernel has just given us.
            Ok(program) => return Ok(unsafe { OwnedFd::from_raw_fd(program) }),
            Err(error) => error,
        };
        if log.is_empty() {
            log = vec![0u8; 1 << 20];
            continue;
        }
        let text = String::from_utf8_lossy(&log);
        // Nothing said: the verifier was not asked.
        if text.trim_end_matches('\0').is_empty() {
            match source.raw_os_error() {
                Some(libc::EINVAL) => return Err(Error::None),
                Some(libc::EPERM) => return Err(Error::Privilege),
                _ => {}
            }
        }
        let lines: Vec<_> = text.trim_end_matches('\0').lines().collect();
        let tail = lines[lines.len().saturating_sub(6)..].join("\n  ");
        let log = if tail.is_empty() {
            String::new()
        } else {
            format!("\n  {tail}")
        };
        return Err(Error::Load { name, source, log });
    }
}

fn link_create(program: &OwnedFd, family: u32, hook: u32, priority: i32) -> io::Result<OwnedFd> {
    /// The head of `union bpf_attr` for BPF_LINK_CREATE with `netfilter`.
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
        pf: u32,
        hooknum: u32,
        priority: i32,
        nf_flags: u32,
    }
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_NETFILTER,
        flags: 0,
        pf: family,
        hooknum: hook,
        priority,
        nf_flags: 0,
    };
    // SAFETY: `attr` points to nothing.
    let link = unsafe { bpf::call(BPF_LINK_CREATE, &mut attr)? };
    // SAFETY: a descriptor the kernel has just given us.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}
