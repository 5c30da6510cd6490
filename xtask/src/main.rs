//! Everything one does with the project goes through here: `cargo xtask COMMAND`.

mod background;
mod build;
mod check;
mod command;
mod dist;
mod fuzz;
mod paths;
mod progress;
mod runner;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::paths::Paths;

/// Set up, build, test, show and measure netpol.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Get the BPF toolchain and the Debian packages that tests and demo need (implied by the other commands)
    Setup,
    /// Build the kernel object, check it, and build the workspace around it
    Build {
        /// Optimise the host programs as well (the kernel object always is)
        #[arg(long)]
        release: bool,
        /// Programs that log each packet, and an agent that shows it (`--log debug`); for debugging only
        #[arg(long, conflicts_with = "release")]
        log: bool,
    },
    /// Run every test: unit, kernel, scenarios, demo, conformance, kernel matrix
    Test(test::Options),
    /// Show the web shop on two nodes: services, policies, drops and why. `demo journey`: a request's whole way through nginx
    /// and DNS in pods
    Demo(Passed),
    /// Run scenario files: FILE|DIR [--json OUT]
    Scenario(Passed),
    /// Run conformance cases: DIR [--family 4|6] [--mode packet|socket] [--case PATTERN] [--json OUT]
    Conformance(Passed),
    /// Random clusters and packets through the kernel programs: --comparisons N | --packets N [--seed S]; or the parser, guided
    /// by coverage: --target NAME [--seconds N]
    Fuzz(Passed),
    /// Measure: [--quick] [--only NAME] [--json OUT] [--svg OUT]; tell and draw what was measured: --from JSON [--svg OUT]
    Bench(Passed),
    /// Hold flow records against the connections that were made: [--seconds N] [--rate N] [--drops PERCENT] [--json OUT]
    Soak(Passed),
    /// Load, attach and test the programs on Debian's kernels from 5.10 to the newest, in QEMU
    Vm(vm::Options),
    /// Build what is released: static programs, what they are made of (CycloneDX), checksums
    Dist,
    /// Formatting, clippy (kernel programs included), documentation, house rules
    Check,
}

/// Arguments handed on as they are to the program of that name in the `tests` crate.
#[derive(clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let paths = Paths::find()?;
    match Cli::parse().job {
        Job::Setup => setup::all(&paths).map(drop),
        Job::Build { log: true, .. } => build::logging(&paths),
        Job::Build { release, .. } => build::all(&paths, build::Profile::from_release_flag(release)),
        Job::Test(options) => test::run(&paths, &options),
        Job::Dist => dist::run(&paths),
        Job::Check => check::run(&paths),
        Job::Demo(Passed { args }) => match args.split_first() {
            Some((which, rest)) if which == "journey" => runner::run(&paths, runner::JOURNEY, rest),
            _ => runner::run(&paths, runner::DEMO, &args),
        },
        Job::Scenario(Passed { args }) => runner::run(&paths, runner::SCENARIO, &args),
        Job::Conformance(Passed { args }) => runner::run(&paths, runner::CONFORMANCE, &args),
        Job::Fuzz(Passed { args }) => fuzz::run(&paths, &args),
        Job::Bench(Passed { args }) => runner::run(&paths, runner::BENCH, &args),
        Job::Soak(Passed { args }) => runner::run(&paths, runner::SOAK, &args),
        Job::Vm(options) => vm::run(&paths, &options),
    }
}
