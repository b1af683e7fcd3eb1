//! Debian packages without installing them: apt with lists, cache and package state of our own, so
//! that nothing of the machine changes and any suite can be asked, whatever the machine runs.

use std::{
    cmp::Ordering,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use crate::util::{self, output, run, say};

/// Where packages come from when the machine's own sources name no Debian mirror.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Lists younger than this are not fetched again.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// A private view of one Debian suite. Nobody else has it meanwhile: apt spoils lists and archives that two use at once.
#[derive(Debug)]
pub struct Suite {
    name: String,
    dir: PathBuf,
    _lock: File,
}

impl Suite {
    /// Opens a suite, fetching its lists unless they are fresh.
    pub fn open(cache: &Path, name: &str) -> Result<Self> {
        for tool in ["apt-get", "dpkg-deb"] {
            if util::which(tool).is_none() {
                bail!(
                    "{tool} is missing: this task unpacks Debian packages; \
                     on another distribution install the packages apt and dpkg"
                );
            }
        }
        let lock = util::lock(cache, &format!("apt-{name}"))?;
        let dir = cache.join("apt").join(name);
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("archives/partial"))?;
        let suite = Self {
            name: name.into(),
            dir,
            _lock: lock,
        };
        fs::write(suite.dir.join("status"), "")?;
        fs::write(suite.dir.join("sources.list"), source_line(name))?;
        let stamp = suite.dir.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| SystemTime::now().duration_since(t).ok());
        if age.is_none_or(|age| age > FRESH) || !suite.has_lists()? {
            say(format!(
                "fetching the package lists of Debian {name} (kept in the cache)"
            ));
            run(suite
                .apt("apt-get")
                .args(["-qq", "--error-on=any", "update"]))
            .with_context(|| format!("Debian {name} cannot be reached"))?;
            if !suite.has_lists()? {
                bail!("apt-get fetched no package lists of Debian {name}");
            }
            fs::write(stamp, "")?;
        }
        Ok(suite)
    }

    fn has_lists(&self) -> Result<bool> {
        for entry in fs::read_dir(self.dir.join("lists"))? {
            if entry?.file_name().to_string_lossy().contains("_Packages") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The newest package whose name matches the pattern, and its version.
    pub fn newest(&self, pattern: &str) -> Result<Option<(String, String)>> {
        let names = output(
            self.apt("apt-cache")
                .args(["search", "--names-only", pattern]),
        )?;
        let mut best: Option<(String, String)> = None;
        for name in names.lines().filter_map(|l| l.split_whitespace().next()) {
            for version in self.versions(name)? {
                if best
                    .as_ref()
                    .is_none_or(|(_, b)| compare(&version, b) == Ordering::Greater)
                {
                    best = Some((name.into(), version));
                }
            }
        }
        Ok(best)
    }

    /// All versions of a package.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = output(self.apt("apt-cache").args(["madison", package]))?;
        Ok(table
            .lines()
            .filter_map(|l| l.split('|').nth(1))
            .map(|v| v.trim().to_owned())
            .collect())
    }

    /// The names of what a package depends on directly.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let table = output(self.apt("apt-cache").args(["depends", package]))?;
        Ok(table
            .lines()
            .filter_map(|l| l.trim().strip_prefix("Depends: ").map(str::to_owned))
            .collect())
    }

    /// Downloads these packages alone (`name` or `name=version`) and unpacks them into `into`.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let work = tempfile::tempdir_in(&self.dir)?;
        run(self
            .apt("apt-get")
            .args(["-qq", "download"])
            .args(packages)
            .current_dir(work.path()))
        .with_context(|| format!("downloading {}", packages.join(" ")))?;
        unpack_all(work.path(), into)
    }

    /// Downloads these packages with all they depend on, and unpacks them into `into`: a small root
    /// file system that was never configured.
    pub fn unpack_with_dependencies(&self, packages: &[&str], into: &Path) -> Result<()> {
        run(self
            .apt("apt-get")
            .args([
                "-qq",
                "-y",
                "--no-install-recommends",
                "--download-only",
                "install",
            ])
            .args(packages)
            .stdout(Stdio::null()))
        .with_context(|| format!("downloading {} with their dependencies", packages.join(" ")))?;
        let archives = self.dir.join("archives");
        unpack_all(&archives, into)?;
        fs::remove_dir_all(&archives)?;
        fs::create_dir_all(archives.join("partial"))?;
        Ok(())
    }

    /// apt-get or apt-cache, seeing only our lists and an empty machine.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |key: &str, value: &str| {
            command.arg("-o").arg(format!("{key}={value}"));
        };
        let at = |name: &str| self.dir.join(name).display().to_string();
        set("Dir::Etc::sourcelist", &at("sources.list"));
        set("Dir::Etc::sourceparts", "/dev/null");
        set("Dir::Etc::preferences", "/dev/null");
        set("Dir::Etc::preferencesparts", "/dev/null");
        set("Dir::State", &at(""));
        set("Dir::State::Lists", &at("lists"));
        set("Dir::State::status", &at("status"));
        set("Dir::Cache", &at(""));
        set("Dir::Cache::archives", &at("archives"));
        set("Dir::Cache::pkgcache", "");
        set("Dir::Cache::srcpkgcache", "");
        set("Dir::Log", &at(""));
        set("Debug::NoLocking", "1");
        set("APT::Architecture", "amd64");
        set("APT::Sandbox::User", "");
        set("APT::Update::Post-Invoke", "");
        set("Acquire::Languages", "none");
        set(
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
            "false",
        );
        // Old suites stay readable after their last update.
        set("Acquire::Check-Valid-Until", "false");
        command.env("LC_ALL", "C");
        command
    }

    /// The suite's name, as Debian spells it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Compares two Debian versions as dpkg does.
fn compare(a: &str, b: &str) -> Ordering {
    let holds = |relation| {
        Command::new("dpkg")
            .args(["--compare-versions", a, relation, b])
            .status()
            .is_ok_and(|s| s.success())
    };
    if holds("gt") {
        Ordering::Greater
    } else if holds("eq") {
        Ordering::Equal
    } else {
        Ordering::Less
    }
}

/// Unpacks every package of a folder.
fn unpack_all(from: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(into))?;
        }
    }
    Ok(())
}

/// One line of sources.list for a suite, at the mirror that the machine itself uses.
fn source_line(suite: &str) -> String {
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed = if Path::new(keyring).exists() {
        format!("[signed-by={keyring}] ")
    } else {
        String::new()
    };
    let mirror = mirror(&machine_sources());
    if suite.ends_with("-security") {
        let security = match mirror.strip_suffix("/debian") {
            Some(base) => format!("{base}/debian-security"),
            None => format!("{mirror}-security"),
        };
        format!("deb {signed}{security} {suite} main\n")
    } else {
        format!("deb {signed}{mirror} {suite} main\n")
    }
}

/// The text of all the machine's apt sources.
fn machine_sources() -> String {
    let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let mut parts: Vec<_> = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    parts.sort();
    for part in parts {
        text.push('\n');
        text.push_str(&fs::read_to_string(part).unwrap_or_default());
    }
    text
}

/// The Debian mirror that apt sources name, in either of apt's two formats.
fn mirror(sources: &str) -> String {
    sources
        .lines()
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.starts_with("http") && word.ends_with("/debian"))
        .unwrap_or(MIRROR)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_read_from_either_format() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(mirror(deb822), "http://mirror.example/debian");
        let lines = "deb https://other.example/tools x main\n\
                     deb [arch=amd64] https://m.example/debian trixie main\n";
        assert_eq!(mirror(lines), "https://m.example/debian");
        assert_eq!(mirror(""), MIRROR);
    }
}
