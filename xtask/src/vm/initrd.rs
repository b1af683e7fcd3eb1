//! The guest's whole file system: tools, kernel modules in loading order, and `init`. It depends on
//! the kernel only, so it is kept; what a job brings is a second archive behind it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CStr,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    cpio::Archive,
    elf,
    kernels::Kernel,
    tools::{self, GLIBC},
};
use crate::util::say;

const INIT: &str = include_str!("init.sh");
/// Changes when this file changes what it writes; the kept archives of before are then left alone.
const FORMAT: u32 = 2;
/// Where programs and libraries lie in the guest.
const BIN: &str = "usr/bin";
const LIB: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// The real tools; busybox does the rest.
const PROGRAMS: [&str; 13] = [
    "bash", "bridge", "busybox", "ethtool", "ip", "nft", "nstat", "ping", "ps", "ss", "sysctl",
    "tc", "tcpdump",
];
/// Modules to load at boot; a kernel that lacks one has it built in, or is too old or too new for it.
const MODULES: &str = "virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci \
    virtio_console failover net_failover virtio_net veth dummy bridge 8021q vxlan macvlan ifb tun \
    nf_tables nf_conntrack nf_nat nft_ct nft_nat nft_masq nft_redir nft_chain_nat nft_reject \
    nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_fib_inet nft_log nft_limit nft_counter \
    nft_queue nft_quota nft_hash nf_log_syslog sch_netem sch_tbf sch_fq_codel sch_fq sch_htb \
    sch_prio sch_ingress cls_bpf cls_u32 cls_matchall act_bpf act_mirred act_gact tcp_bbr \
    inet_diag tcp_diag udp_diag raw_diag";

/// The kept part of the guest's file system.
pub fn base(cache: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let tools = tools::guest(cache)?;
    let dir = cache.join("initrd");
    fs::create_dir_all(&dir)?;
    // `init` is part of the name: a changed one makes another archive.
    let mark = INIT
        .bytes()
        .fold(FORMAT, |sum, byte| sum.rotate_left(5) ^ u32::from(byte));
    let path = dir.join(format!("{}-{mark:08x}.cpio", kernel.release));
    if path.exists() {
        return Ok(path);
    }
    say(format!(
        "building the guest's file system for {}",
        kernel.release
    ));
    let file = tempfile::NamedTempFile::new_in(&dir)?;
    let mut archive = Archive::new(BufWriter::new(file));
    for folder in [
        "proc", "sys", "dev", "tmp", "run", "root", "job", "out", "etc", "var", BIN, LIB,
    ] {
        archive.folder(folder)?;
    }
    for (link, to) in [
        ("bin", BIN),
        ("sbin", BIN),
        ("usr/sbin", "bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        archive.link(link, to)?;
    }
    archive.link("var/run", "/run")?;
    archive.link("etc/mtab", "/proc/self/mounts")?;
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n", false)?;
    archive.file("etc/group", b"root:x:0:\n", false)?;
    archive.file(
        "etc/hosts",
        b"127.0.0.1 localhost pktjourney\n::1 localhost\n",
        false,
    )?;
    for known in ["etc/protocols", "etc/services"] {
        archive.file(known, &fs::read(tools.join(known))?, false)?;
    }
    add_tools(&mut archive, &tools)?;
    add_modules(&mut archive, kernel, &tools)?;
    archive.file("init", INIT.as_bytes(), true)?;
    let file = archive.finish()?.into_inner().map_err(|e| e.into_error())?;
    file.persist(&path)?;
    Ok(path)
}

fn add_tools<W: Write>(archive: &mut Archive<W>, tools: &Path) -> Result<()> {
    let mut programs = Vec::new();
    for name in PROGRAMS {
        let path = ["usr/bin", "usr/sbin", "bin", "sbin"]
            .iter()
            .map(|dir| tools.join(dir).join(name))
            .find(|path| path.is_file())
            .with_context(|| format!("the guest's tools lack {name}"))?;
        archive.file(&format!("{BIN}/{name}"), &fs::read(&path)?, true)?;
        programs.push(path);
    }
    let folders = [tools.join(LIB), tools.join("lib/x86_64-linux-gnu")];
    let mut libraries = elf::libraries(&programs, &folders)?;
    // Every Rust program needs these two, whichever the tools need.
    for name in ["libgcc_s.so.1", "libm.so.6"] {
        let path = folders
            .iter()
            .map(|dir| dir.join(name))
            .find(|p| p.is_file());
        libraries.insert(name.into(), path.with_context(|| format!("no {name}"))?);
    }
    for (name, path) in &libraries {
        archive.file(&format!("{LIB}/{name}"), &fs::read(path)?, true)?;
    }
    archive.file(LOADER, &fs::read(tools::loader(tools)?)?, true)?;
    Ok(())
}

/// Adds the wanted modules and those they depend on, and `/modules/order`.
fn add_modules<W: Write>(archive: &mut Archive<W>, kernel: &Kernel, tools: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    list_modules(&kernel.modules, &mut files)?;
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in MODULES.split_whitespace() {
        add_module(archive, name, &files, tools, &mut seen, &mut order)?;
    }
    order.push(String::new());
    archive.file("modules/order", order.join("\n").as_bytes(), false)?;
    Ok(())
}

fn add_module<W: Write>(
    archive: &mut Archive<W>,
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    tools: &Path,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) -> Result<()> {
    let name = name.replace('-', "_");
    let Some(path) = files.get(&name) else {
        return Ok(());
    };
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    let mut module = unpacked_module(path, tools)?;
    elf::without_signature(&mut module);
    for dependency in elf::module_dependencies(&module)? {
        add_module(archive, &dependency, files, tools, seen, order)?;
    }
    let file = format!("{name}.ko");
    archive.file(&format!("modules/{file}"), &module, false)?;
    order.push(file);
    Ok(())
}

/// A module's bytes; newer Debian kernels keep them compressed.
fn unpacked_module(path: &Path, tools: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|e| e == "ko") {
        return Ok(fs::read(path)?);
    }
    let done = Command::new(tools.join("usr/bin/busybox"))
        .args(["xz", "-dc"])
        .arg(path)
        .output()
        .context("cannot start busybox xz")?;
    if !done.status.success() {
        bail!(
            "cannot unpack {}: {}",
            path.display(),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(done.stdout)
}

/// All module files below a folder, by module name.
fn list_modules(dir: &Path, into: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            list_modules(&path, into)?;
        } else if let Some((name, "" | ".xz")) =
            entry.file_name().to_string_lossy().split_once(".ko")
        {
            into.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// What one job brings into the guest.
#[derive(Debug, Default)]
pub struct Payload {
    /// Host file → path in the guest.
    pub files: Vec<(PathBuf, String)>,
    /// Programs of the guest's own suite that its file system lacks, with the folder they were unpacked to.
    pub tools: Vec<(PathBuf, &'static str)>,
    /// The script to run; an interactive shell when absent.
    pub script: Option<String>,
}

/// Writes the payload with the libraries its programs need, behind the base archive.
pub fn write_payload(payload: &Payload, out: impl Write, scratch: &Path) -> Result<()> {
    let mut archive = Archive::new(out);
    archive.folder("job")?;
    if let Some(script) = &payload.script {
        archive.file("job/run.sh", script.as_bytes(), false)?;
    }
    let mut programs = Vec::new();
    for (host, guest) in &payload.files {
        let program = elf::is_elf(host);
        let contents = if program {
            stripped(host, scratch)?
        } else {
            fs::read(host)?
        };
        archive.file(guest, &contents, program || guest.starts_with(BIN))?;
        if program {
            programs.push(host.clone());
        }
    }
    for (name, path) in elf::libraries(&programs, &host_folders())? {
        if brought_along(&name) {
            let guest = if name.starts_with("ld-linux") {
                LOADER.into()
            } else {
                format!("{LIB}/{name}")
            };
            archive.file(&guest, &fs::read(path)?, true)?;
        }
    }
    for (root, name) in &payload.tools {
        let program = root.join(BIN).join(name);
        archive.file(&format!("{BIN}/{name}"), &fs::read(&program)?, true)?;
        for (name, path) in elf::libraries(&[program], &[root.join(LIB)])? {
            archive.file(&format!("{LIB}/{name}"), &fs::read(path)?, true)?;
        }
    }
    archive.finish()?;
    Ok(())
}

/// A program without debug info: it travels through the guest's memory.
fn stripped(program: &Path, scratch: &Path) -> Result<Vec<u8>> {
    let thin = scratch.join("stripped");
    let done = Command::new("strip")
        .arg("-g")
        .arg("-o")
        .arg(&thin)
        .arg(program)
        .output();
    if done.is_ok_and(|d| d.status.success()) {
        return Ok(fs::read(&thin)?);
    }
    Ok(fs::read(program)?)
}

fn host_folders() -> Vec<PathBuf> {
    [
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
        "/usr/lib",
    ]
    .map(PathBuf::from)
    .to_vec()
}

/// Whether a library of this machine goes into the guest: those that the guest's tools do not share,
/// and the C library's when this machine's is newer (an older program runs with a newer one).
fn brought_along(name: &str) -> bool {
    const GLIBC_FAMILY: [&str; 8] = [
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libdl.so.2",
        "libm.so.6",
        "libpthread.so.0",
        "libresolv.so.2",
        "librt.so.1",
        "libgcc_s.so.1",
    ];
    !GLIBC_FAMILY.contains(&name) || host_glibc() > GLIBC
}

fn host_glibc() -> (u32, u32) {
    // SAFETY: it returns a pointer to a constant, NUL-terminated string that is never freed.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    let version = version.to_string_lossy();
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Puts both archives into one file for QEMU.
pub fn joined(base: &Path, payload: &Payload, dir: &Path) -> Result<PathBuf> {
    let path = dir.join("initrd");
    fs::copy(base, &path).context("no room for the guest's file system")?;
    let file = fs::OpenOptions::new().append(true).open(&path)?;
    write_payload(payload, BufWriter::new(file), dir)?;
    say(format!(
        "the guest's file system: {} MB",
        fs::metadata(&path)?.len() >> 20
    ));
    Ok(path)
}
