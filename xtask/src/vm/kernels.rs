//! Debian's cloud kernels: the newest of a line, unpacked into the cache. Versions move and lines
//! vanish from the mirrors, so what was fetched once is kept and used without asking again.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::Suite,
    util::{self, say},
};

/// The lines that tests run on, oldest first.
pub const LINES: [&str; 5] = ["5.10", "6.1", "6.12", "7.2", "7.3"];

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// `lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// Finds the newest kernel of a line such as `6.12`; `update` asks Debian even when one is cached.
pub fn find(cache: &Path, line: &str, update: bool) -> Result<Kernel> {
    if line.is_empty() || !line.chars().all(|c| c.is_ascii_digit() || c == '.') {
        bail!(
            "`{line}` is no kernel line; say 6.12, or all for {}",
            LINES.join(" ")
        );
    }
    let _lock = util::lock(cache, "kernels")?;
    let dir = cache.join("kernels").join(line);
    if !update && let Ok(kernel) = unpacked(&dir) {
        return Ok(kernel);
    }
    let mut missed = Vec::new();
    for name in suites(line) {
        let suite = Suite::open(cache, name)?;
        let pattern = format!(
            "^linux-image-{}[.0-9].*-cloud-amd64$",
            line.replace('.', r"\.")
        );
        let Some((package, version)) = suite.newest(&pattern)? else {
            missed.push(suite.name().to_owned());
            continue;
        };
        if unpacked(&dir).is_ok_and(|k| package.ends_with(&k.release)) {
            break;
        }
        say(format!(
            "fetching kernel {line} from Debian {name}: {package} {version} (once, kept)"
        ));
        let mut wanted = vec![package.clone()];
        // Since 7.0 the image package is empty and draws in where the files lie.
        wanted.extend(suite.depends(&package)?.into_iter().filter(|dependency| {
            ["linux-binary-", "linux-modules-"]
                .iter()
                .any(|p| dependency.starts_with(p))
        }));
        let work = util::scratch(cache)?;
        suite.unpack(&wanted, work.path())?;
        unpacked(work.path())?;
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(dir.parent().expect("kernels/LINE has a parent"))?;
        fs::rename(work.keep(), &dir)?;
        break;
    }
    unpacked(&dir).map_err(|_| {
        Vanished {
            line: line.to_owned(),
            suites: missed.join(", "),
        }
        .into()
    })
}

/// Debian has no kernel of the line (any more), and none is in the cache.
#[derive(Debug)]
pub struct Vanished {
    line: String,
    suites: String,
}

impl std::error::Error for Vanished {}

impl fmt::Display for Vanished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, suites } = self;
        write!(
            f,
            "Debian has no cloud kernel {line} any more (looked in {suites})"
        )
    }
}

/// Where Debian keeps a line.
fn suites(line: &str) -> &'static [&'static str] {
    match line {
        "5.10" => &["bullseye-security", "bullseye"],
        "6.1" => &["bookworm"],
        "6.12" => &["trixie"],
        _ => &["trixie-backports", "sid"],
    }
}

/// Looks for the image and the modules in an unpacked package.
fn unpacked(dir: &Path) -> Result<Kernel> {
    for modules in ["lib/modules", "usr/lib/modules"].map(|p| dir.join(p)) {
        for entry in fs::read_dir(&modules).into_iter().flatten() {
            let modules = entry?.path();
            let release = modules
                .file_name()
                .context("a folder has a name")?
                .to_string_lossy()
                .into_owned();
            let images = [
                dir.join(format!("boot/vmlinuz-{release}")),
                modules.join("vmlinuz"),
            ];
            if let Some(image) = images.into_iter().find(|p| p.is_file()) {
                return Ok(Kernel {
                    release,
                    image,
                    modules,
                });
            }
        }
    }
    bail!("no kernel in {}", dir.display())
}
