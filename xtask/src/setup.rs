//! `cargo xtask setup`: the eBPF tool chain, which is two things that rustup's default profile lacks.
//!
//! `-Z build-std=core` needs the standard library's sources of exactly this compiler's release, and
//! linking needs bpf-linker. The linker is pinned to the last series that borrows rustc's own LLVM,
//! so nobody has to build or install another LLVM.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::Suite,
    util::{self, output, run, say},
};

/// The pinned linker; another version gives another object.
pub const LINKER_VERSION: &str = "0.10.3";
/// Debian suites that may hold rust-src of this compiler's release, likeliest first.
const SUITES: [&str; 3] = ["trixie-backports", "sid", "trixie"];

/// The tool chain, ready to use.
#[derive(Debug)]
pub struct Toolchain {
    /// `library/`, the sources of core.
    pub library: PathBuf,
    /// The folder that holds bpf-linker.
    pub linker_dir: PathBuf,
    /// rustc's sysroot.
    pub sysroot: PathBuf,
}

/// Makes the tool chain available; what is there already is kept.
pub fn setup() -> Result<Toolchain> {
    let cache = util::cache()?;
    let _lock = util::lock(&cache, "setup")?;
    let rustc = Rustc::ask()?;
    Ok(Toolchain {
        library: library(&rustc, &cache)?,
        linker_dir: linker(&cache)?,
        sysroot: rustc.sysroot,
    })
}

/// Sets up and says where everything is.
pub fn report() -> Result<()> {
    let chain = setup()?;
    say(format!("core's sources: {}", chain.library.display()));
    say(format!(
        "bpf-linker {LINKER_VERSION}: {}",
        chain.linker_dir.display()
    ));
    say("ready: cargo xtask build-ebpf");
    Ok(())
}

/// The compiler that cargo uses here.
struct Rustc {
    release: String,
    sysroot: PathBuf,
}

impl Rustc {
    fn ask() -> Result<Self> {
        let rustc = || {
            let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
            command.current_dir(util::workspace());
            command
        };
        let version = output(rustc().arg("-vV"))?;
        let release = version
            .lines()
            .find_map(|l| l.strip_prefix("release: "))
            .context("rustc -vV names no release")?
            .to_owned();
        let sysroot = output(rustc().args(["--print", "sysroot"]))?.trim().into();
        Ok(Self { release, sysroot })
    }
}

/// Release of the compiler that cargo uses here, as `1.95.0`.
pub fn compiler() -> Result<String> {
    Ok(Rustc::ask()?.release)
}

/// Finds core's sources, or gets them.
fn library(rustc: &Rustc, cache: &Path) -> Result<PathBuf> {
    let in_sysroot = rustc.sysroot.join("lib/rustlib/src/rust/library");
    let in_cache = cache.join("rust-src").join(&rustc.release).join("library");
    // For trying the other ways on a machine that has the sources.
    let ignore_sysroot = std::env::var_os("PKTJOURNEY_IGNORE_SYSROOT_SRC").is_some();
    if !ignore_sysroot && has_core(&in_sysroot) {
        return Ok(in_sysroot);
    }
    if has_core(&in_cache) {
        return Ok(in_cache);
    }
    say(format!(
        "rust-src of Rust {} is missing; it is needed to build core for BPF",
        rustc.release
    ));
    if !ignore_sysroot && from_rustup() && has_core(&in_sysroot) {
        return Ok(in_sysroot);
    }
    match from_debian(&rustc.release, cache, &in_cache) {
        Ok(()) => Ok(in_cache),
        Err(error) => bail!(
            "no rust-src for Rust {}: {error:#}\n\
             with rustup: rustup component add rust-src",
            rustc.release
        ),
    }
}

fn has_core(library: &Path) -> bool {
    library.join("core/Cargo.toml").is_file() && library.join("Cargo.lock").is_file()
}

/// rustup's own way; quiet, since Debian's package is tried next.
fn from_rustup() -> bool {
    if util::which("rustup").is_none() {
        return false;
    }
    say("trying: rustup component add rust-src");
    let added = Command::new("rustup")
        .args(["component", "add", "rust-src"])
        .current_dir(util::workspace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !added {
        say("rustup cannot give it here; trying Debian's rust-src package");
    }
    added
}

/// Debian's package of the same release, unpacked into the cache.
fn from_debian(release: &str, cache: &Path, library: &Path) -> Result<()> {
    for name in SUITES {
        let suite = match Suite::open(cache, name) {
            Ok(suite) => suite,
            Err(error) => {
                say(format!("{error:#}; going on with the next suite"));
                continue;
            }
        };
        let wanted = format!("{release}+");
        let Some(version) = suite
            .versions("rust-src")?
            .into_iter()
            .find(|v| v.starts_with(&wanted))
        else {
            continue;
        };
        say(format!(
            "unpacking Debian's rust-src {version} from {name} into the cache"
        ));
        let work = util::scratch(cache)?;
        suite.unpack(&[format!("rust-src={version}")], work.path())?;
        let sources = fs::read_dir(work.path().join("usr/src"))?
            .filter_map(|e| Some(e.ok()?.path().join("library")))
            .find(|path| has_core(path))
            .context("Debian's rust-src has no library/core")?;
        let parent = library.parent().expect("library lies in a folder");
        fs::create_dir_all(parent)?;
        if library.exists() {
            fs::remove_dir_all(library)?;
        }
        fs::rename(sources, library)?;
        return Ok(());
    }
    bail!("Debian's {} hold no rust-src {release}", SUITES.join(", "))
}

/// Finds the pinned bpf-linker on the path or in the cache, or builds it.
fn linker(cache: &Path) -> Result<PathBuf> {
    let root = cache.join(format!("bpf-linker-{LINKER_VERSION}"));
    let ours = root.join("bin/bpf-linker");
    for path in [Some(ours.clone()), util::which("bpf-linker")]
        .into_iter()
        .flatten()
    {
        if is_pinned(&path) {
            return Ok(path
                .parent()
                .expect("a file lies in a folder")
                .to_path_buf());
        }
    }
    say(format!(
        "building bpf-linker {LINKER_VERSION} into the cache (2 to 5 minutes, once)"
    ));
    // Without debug info and with -O1: 3 MB instead of 47, two thirds of the time, the same output.
    run(util::cargo()
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            LINKER_VERSION,
            "--root",
        ])
        .arg(&root)
        .current_dir(cache)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"))?;
    if !is_pinned(&ours) {
        bail!("{} does not run", ours.display());
    }
    Ok(root.join("bin"))
}

fn is_pinned(linker: &Path) -> bool {
    let Ok(done) = Command::new(linker).arg("--version").output() else {
        return false;
    };
    String::from_utf8_lossy(&done.stdout)
        .trim_end()
        .ends_with(&format!(" {LINKER_VERSION}"))
}
