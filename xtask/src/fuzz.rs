//! Fuzzing. Guided by coverage: `tests/fuzz`, built with LLVM's instrumentation and run by libFuzzer.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use clap::Parser;

use crate::{build, command, paths::Paths, runner};

/// Coverage-guided fuzzing.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz", bin_name = "cargo xtask fuzz")]
struct Options {
    /// A folder of tests/fuzz/corpus.
    #[arg(long)]
    target: String,
    /// How long.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

/// What libFuzzer needs to see of a program: edges, and what is compared. All of it is in the stable compiler.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    // A release build that notices what a debug build would.
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Longest input: some packets or changes that follow each other, or a manifest of some objects.
const LONGEST: usize = 800;

/// Random clusters, unless a target is named.
///
/// # Errors
/// As the one or the other.
pub(crate) fn run(paths: &Paths, args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--target" || arg.starts_with("--target=")) {
        return guided(paths, args);
    }
    runner::run(paths, runner::FUZZ, args)
}

/// Runs one target. What is new and covers more is kept below `target/fuzz/corpus/NAME`; an input that fails goes to
/// `tests/fuzz/regressions/NAME`, where a test replays it.
///
/// # Errors
/// If there is no such target (an argument that is none ends the program, as everywhere), the build fails, or an input was found that fails.
fn guided(paths: &Paths, args: &[String]) -> Result<()> {
    let before = ["cargo xtask fuzz".to_owned()];
    let Options { target, seconds } = Options::parse_from(before.iter().chain(args));
    let fuzz = paths.root.join("tests/fuzz");
    let seeds = fuzz.join("corpus").join(&target);
    ensure!(seeds.is_dir(), "no target {target}: those of tests/fuzz/corpus are there");
    let triple = host()?;
    let folder = paths.target.join("fuzz");
    let mut cargo = build::cargo(paths, "build");
    cargo
        .args(["--package", "netpol-fuzz", "--features", "libfuzzer", "--bin", "libfuzzer"])
        // With a target named, build scripts and macros stay uninstrumented.
        .args(["--release", "--target", &triple])
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f"))
        .env("CARGO_TARGET_DIR", folder.join("build"));
    command::run(&mut cargo)?;
    let corpus = made(folder.join("corpus").join(&target))?;
    let regressions = made(fuzz.join("regressions").join(&target))?;
    let mut fuzzer = Command::new(folder.join("build").join(&triple).join("release/libfuzzer"));
    fuzzer
        .env("NETPOL_FUZZ_TARGET", &target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-artifact_prefix={}/", regressions.display()))
        .arg("-print_final_stats=1")
        .arg(corpus)
        .arg(seeds);
    command::run(&mut fuzzer)
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The triple of this machine.
fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}
