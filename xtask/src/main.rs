//! The project's own tasks, one file each: `cargo xtask --help`.

mod apt;
mod bench;
mod build_ebpf;
mod cross;
mod demo;
mod kernels;
mod setup;
mod test;
mod util;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// pktjourney's own tasks
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Get the eBPF tool chain: core's sources and bpf-linker (once)
    Setup,
    /// Compile the eBPF programs into the committed object
    BuildEbpf {
        /// Write nothing; fail when the committed object is not what the sources give
        #[arg(long)]
        check: bool,
    },
    /// Check that pktjourney builds for aarch64, and is refused on 32-bit and big-endian machines
    Cross,
    /// Run a command as root on another kernel, in an emulated machine
    Vm(vm::Arguments),
    /// Run everything that must pass: formatting, lints, the eBPF object, tests here and in a guest
    Test(test::Arguments),
    /// Measure what tracing costs: instructions a packet, time a hook, packets a second
    Bench(bench::Arguments),
    /// Write the tables of docs/kernels.md from what pktjourney finds on each kernel
    Kernels(kernels::Arguments),
    /// Build pktjourney and run its demo, as root here or in a guest
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    if std::env::var_os(build_ebpf::WRAPPED).is_some() {
        return finish(build_ebpf::wrapped_rustc());
    }
    finish(match Arguments::parse().task {
        Task::Setup => setup::report().map(|()| ExitCode::SUCCESS),
        Task::BuildEbpf { check } => build_ebpf::build_ebpf(check).map(|()| ExitCode::SUCCESS),
        Task::Cross => cross::cross().map(|()| ExitCode::SUCCESS),
        Task::Vm(arguments) => vm::vm(&arguments),
        Task::Test(arguments) => test::test(&arguments),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Kernels(arguments) => kernels::kernels(&arguments),
        Task::Demo(arguments) => demo::demo(&arguments),
    })
}

fn finish(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        util::say(format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}
