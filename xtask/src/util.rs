//! What every task needs: saying what happens, running a program, knowing where things lie.

use std::{
    env,
    fmt::Display,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Says on standard error what happens now, and why.
pub fn say(message: impl Display) {
    // A closed standard error is no reason to stop working.
    let _ = writeln!(io::stderr(), "xtask: {message}");
}

/// The root of the checkout. The running cargo's word counts more than where xtask was built: a target
/// folder may serve several checkouts.
pub fn workspace() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}

/// Where downloads and tools are kept between runs, outside the checkout.
pub fn cache() -> Result<PathBuf> {
    let named = |key| {
        env::var_os(key)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let path = named("PKTJOURNEY_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|p| p.join("pktjourney")))
        .or_else(|| named("HOME").map(|p| p.join(".cache/pktjourney")))
        .context("no place for a cache: set PKTJOURNEY_CACHE to a folder")?;
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    path.canonicalize()
        .with_context(|| format!("cannot reach {}", path.display()))
}

/// Holds a named lock of the cache until dropped, so that two tasks do not fill it at once.
pub fn lock(cache: &Path, name: &str) -> Result<File> {
    let path = cache.join(format!(".{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let flock = |flags| {
        // SAFETY: the descriptor is open as long as `file` lives, and flock touches no memory.
        unsafe { libc::flock(file.as_raw_fd(), flags) == 0 }
    };
    if !flock(libc::LOCK_EX | libc::LOCK_NB) {
        say(format!(
            "waiting for another xtask that holds {}",
            path.display()
        ));
        if !flock(libc::LOCK_EX) {
            return Err(io::Error::last_os_error().into());
        }
    }
    Ok(file)
}

/// A scratch folder in the cache; it goes away when dropped.
pub fn scratch(cache: &Path) -> Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("tmp-").tempdir_in(cache)?;
    // apt's unprivileged helper has to be able to look in.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(dir)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let text = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    Ok(serde_json::from_str::<Metadata>(&text)?.target_directory)
}

/// The nested cargo: the one that runs us, else the one on the path.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Runs a program to its end; anything but success is an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let name = named(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}

/// Runs a program and gives its standard output; its errors go to ours.
pub fn output(command: &mut Command) -> Result<String> {
    let name = named(command);
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !done.status.success() {
        bail!("{name}: {}", done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("{name} wrote no UTF-8"))
}

/// Whether a program of this name is on the path, and where. The administrator's folders count too:
/// a user's path lacks them on Debian.
pub fn which(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Whether we run as root.
pub fn root() -> bool {
    // SAFETY: geteuid takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The command as one would type it, for error messages.
fn named(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    let mut text = words.join(" ");
    if let Some((cut, _)) = text.char_indices().nth(160) {
        text.truncate(cut);
        text.push('…');
    }
    text
}
