//! `cargo xtask cross`: that pktjourney builds for aarch64, and refuses to be built where it would not work. Only checked, not
//! linked: that needs no tools for the other machine, and the standard library from its sources (`cargo xtask setup`).

use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

use crate::{
    setup::{self, Toolchain},
    util::{self, run, say},
};

/// Built for.
const SUPPORTED: &str = "aarch64-unknown-linux-gnu";
/// Refused: 32 bit, and big endian.
const REFUSED: [&str; 2] = ["i686-unknown-linux-gnu", "aarch64_be-unknown-linux-gnu"];
/// What the refusal says.
const WORDS: &str = "pktjourney is for 64-bit, little-endian Linux";

/// Checks them all.
pub fn cross() -> Result<()> {
    let chain = setup::setup()?;
    say(format!("checking pktjourney for {SUPPORTED}"));
    run(check(&chain, SUPPORTED, "std,panic_abort")?.args(["--package", "trace-cli"]))
        .with_context(|| format!("pktjourney does not build for {SUPPORTED}"))?;
    for target in REFUSED {
        let Output { status, stderr, .. } = check(&chain, target, "core")?
            .args(["--package", "trace-ebpf"])
            .output()
            .context("cannot start cargo")?;
        let said = String::from_utf8_lossy(&stderr);
        if status.success() || !said.contains(WORDS) {
            bail!("{target} is not refused with \"{WORDS}\", but: {status}: {said}");
        }
        say(format!("{target} is refused, as it should be"));
    }
    Ok(())
}

/// Cargo with a standard library of its own. In a folder of its own, too: what build scripts find out differs.
fn check(chain: &Toolchain, target: &str, library: &str) -> Result<Command> {
    let mut cargo = util::cargo();
    cargo
        .args(["check", "--quiet", "--locked", "--target", target])
        .arg(format!("-Zbuild-std={library}"))
        .arg("--target-dir")
        .arg(util::target_dir()?.join("cross"))
        // build-std is unstable, the compiler need not be: only this cargo may use it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", &chain.library);
    Ok(cargo)
}
