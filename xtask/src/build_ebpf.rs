//! `cargo xtask build-ebpf`: compiles the eBPF programs into the objects that are committed, so that
//! building pktjourney itself needs nothing but a stable Rust.
//!
//! The same sources give the same bytes on every machine: paths are remapped, there is one codegen
//! unit, compiler and linker are pinned, and DWARF is cut away once the linker has turned it into
//! BTF. `--check` builds on that: it fails when a committed object is not what the sources give.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use object::{
    Endianness, Object as _, ObjectSection as _,
    build::elf::{Builder, SectionData},
    elf,
    read::elf::ElfFile64,
};

use crate::{
    setup::{self, Toolchain},
    util::{self, run, say},
};

/// Release of the compiler that made the objects: another one's output cannot be compared with it.
const COMPILER: &str = "trace-cli/ebpf/compiler.txt";
/// Programs of the package `trace-ebpf`, and where the object that is committed of each lies in the checkout.
const OBJECTS: [(&str, &str); 2] = [
    ("pktjourney-ebpf", "trace-cli/ebpf/pktjourney.bpf.o"),
    ("polls-ebpf", "trace-cli/ebpf/polls.bpf.o"),
];
/// Set for the compilers that the nested cargo starts through us.
pub const WRAPPED: &str = "PKTJOURNEY_XTASK_RUSTC";
const TARGET: &str = "bpfel-unknown-none";
/// The machines that the object is for. It is one object: only aya's own reading of `pt_regs` would differ between them, and
/// that is not used (`trace-ebpf/src/memory.rs`).
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Builds the objects and writes them, or with `check` compares them with the committed ones.
pub fn build_ebpf(check: bool) -> Result<()> {
    let compiler = setup::compiler()?;
    let compiler_file = util::workspace().join(COMPILER);
    let made_by = fs::read_to_string(&compiler_file).unwrap_or_default();
    if check && !made_by.is_empty() && made_by.trim() != compiler {
        say(format!(
            "the eBPF objects were made by rustc {}; this is {compiler}, which gives other bytes: not compared",
            made_by.trim()
        ));
        return Ok(());
    }
    let chain = setup::setup()?;
    let built = build(&chain, ARCHITECTURES[0])?;
    if check {
        for other in &ARCHITECTURES[1..] {
            for (one, another) in built.iter().zip(build(&chain, other)?) {
                if programs(one)? != programs(&another)? {
                    bail!(
                        "the programs for {other} are not those for {}: see trace-ebpf/src/memory.rs",
                        ARCHITECTURES[0]
                    );
                }
            }
        }
    }
    for (built, (_, object)) in built.iter().zip(OBJECTS) {
        settle(object, built, check)?;
    }
    if !check {
        fs::write(&compiler_file, format!("{compiler}\n"))?;
    }
    Ok(())
}

/// Writes an object that has changed, or with `check` says so.
fn settle(object: &str, built: &[u8], check: bool) -> Result<()> {
    let path = util::workspace().join(object);
    let committed = fs::read(&path).unwrap_or_default();
    match (built == committed, check) {
        (true, _) => say(format!(
            "{object} is what the sources give ({} bytes)",
            built.len()
        )),
        (false, false) => {
            fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
            fs::write(&path, built).with_context(|| format!("cannot write {object}"))?;
            say(format!(
                "{object} written ({} bytes); commit it with the sources",
                built.len()
            ));
        }
        (false, true) => {
            let name = path.file_name().expect("an object has a name");
            let kept = util::workspace().join("trace-ebpf/target").join(name);
            fs::write(&kept, built)?;
            bail!(
                "{object} ({} bytes) is not what the sources give ({} bytes, kept as {}).\n\
                 Run `cargo xtask build-ebpf` and commit the object with the sources.",
                committed.len(),
                built.len(),
                kept.display(),
            );
        }
    }
    Ok(())
}

/// Compiles, links and strips; gives the bytes of each object.
fn build(chain: &Toolchain, architecture: &str) -> Result<Vec<Vec<u8>>> {
    let workspace = util::workspace();
    let target_dir = workspace.join("trace-ebpf/target");
    run(util::cargo().args(["fetch", "--quiet", "--locked"]))
        .context("the crates that the eBPF programs need cannot be had")?;
    say(format!("compiling the eBPF programs, for {architecture}"));
    let mut cargo = util::cargo();
    cargo
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--target",
            TARGET,
        ])
        .args(["-Z", "build-std=core", "--package", "trace-ebpf"])
        .args(OBJECTS.iter().flat_map(|(program, _)| ["--bin", program]))
        .args(["--features", "programs", "--target-dir"])
        .arg(&target_dir);
    clean_environment(&mut cargo);
    let path = env::join_paths(
        [chain.linker_dir.clone()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    cargo
        .env("PATH", path)
        // build-std is unstable, the compiler need not be: only this cargo may use it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", &chain.library)
        .env("RUSTC_WRAPPER", env::current_exe()?)
        .env(WRAPPED, "1")
        // Else aya takes that of the machine that compiles.
        .env("AYA_BPF_TARGET_ARCH", architecture)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(&workspace, chain).join("\x1f"),
        );
    run(&mut cargo).context("the eBPF programs do not build")?;
    let folder = target_dir.join(TARGET).join("release");
    let objects = OBJECTS.iter().map(|(program, _)| {
        let linked = folder.join(program);
        strip(&fs::read(&linked).with_context(|| format!("no {}", linked.display()))?)
    });
    objects.collect()
}

/// Stands in for rustc when [`WRAPPED`] is set. Cargo hashes the absolute path of core's sources into
/// `-C metadata`, and rustc that into every symbol's name: a fixed word takes its place.
pub fn wrapped_rustc() -> Result<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next().context("no compiler named")?);
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    for argument in arguments {
        if argument.to_string_lossy().starts_with("metadata=") {
            rustc.arg(format!("metadata=pktjourney-{version}"));
        } else {
            rustc.arg(argument);
        }
    }
    let status = rustc
        .env_remove(WRAPPED)
        .status()
        .context("cannot start rustc")?;
    Ok(status
        .code()
        .map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
}

/// The compiler's flags. The linker makes BTF from full debug info.
fn flags(workspace: &Path, chain: &Toolchain) -> Vec<String> {
    let cargo_home: PathBuf = env::var_os("CARGO_HOME")
        .map(Into::into)
        .unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cargo"));
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    // A registry's folder is named after where its index lies: a mirror has another name.
    let registries: Vec<PathBuf> = fs::read_dir(cargo_home.join("registry/src"))
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    let mut flags = vec![
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        "-Ctarget-cpu=v3".into(),
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
        "-Ccodegen-units=1".into(),
        "-Cpanic=abort".into(),
        // Where several match, the last wins.
        remap(&cargo_home, "/cargo"),
    ];
    flags.extend(registries.iter().map(|dir| remap(dir, "/crates")));
    flags.extend([
        remap(&chain.sysroot, "/rust"),
        remap(workspace, "/pktjourney"),
        remap(&chain.library, "/rust/library"),
        remap(
            &workspace.join("trace-ebpf/target/library"),
            "/rust/library",
        ),
    ]);
    flags
}

/// All but BTF, which names the file that aya's bindings for a machine lie in.
fn programs(object: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let file = ElfFile64::<Endianness>::parse(object).context("this is no ELF object")?;
    let mut sections = Vec::new();
    for section in file.sections() {
        let name = section.name_bytes()?;
        if !name.starts_with(b".BTF") {
            sections.push((name.to_vec(), section.data()?.to_vec()));
        }
    }
    Ok(sections)
}

/// Takes away what would change the build from outside: the outer cargo's and the user's settings.
fn clean_environment(cargo: &mut Command) {
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let changes = name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_TARGET_")
            || name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_PKG_")
            || matches!(
                name.as_ref(),
                "RUSTFLAGS" | "RUSTC" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER"
            );
        if changes {
            cargo.env_remove(&key);
        }
    }
}

/// Cuts the DWARF sections away; BTF has what the kernel needs, with the source lines.
fn strip(linked: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(linked).context("the linker wrote no ELF object")?;
    for section in &mut builder.sections {
        let name = section.name.to_vec();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // LLVM keeps section names with the symbols' names; the writer wants a table of their own.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("cannot write the stripped object")?;
    Ok(stripped)
}
