//! What a change must pass besides the tests: formatting, lints, documentation, and the house rules a machine can see.

mod manifest;
mod modules;
mod points;
mod reasons;
mod rooms;
mod size;
mod strays;
mod tree;

use anyhow::{Context, Result, bail};

use self::tree::Tree;
use crate::{
    build, command,
    paths::Paths,
    progress::Progress,
    setup::{self, Toolchain},
};

/// Runs all checks, each to its end, and fails if one did.
///
/// # Errors
/// Which checks failed; what they found is printed.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let toolchain = setup::all(paths)?;
    let mut failed = Vec::new();
    let mut progress = Progress::new("check", 5);
    let mut check = |what: &'static str, work: &mut dyn FnMut() -> Result<()>| {
        if let Err(error) = progress.step(what, work) {
            println!("check  {error:#}");
            failed.push(what);
        }
    };
    check("formatting", &mut || formatting(paths));
    check("clippy on the workspace", &mut || clippy(paths));
    check("clippy on the kernel programs", &mut || clippy_on_kernel_programs(paths, &toolchain));
    check("documentation", &mut || documentation(paths));
    check("tidy", &mut || tidy(paths));
    println!("\n{} passed, {} failed", 5 - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn formatting(paths: &Paths) -> Result<()> {
    require(paths, "fmt", "rustfmt")?;
    command::run(build::cargo(paths, "fmt").args(["--all", "--check"]))?;
    command::run(build::cargo(paths, "fmt").arg("--check").current_dir(paths.bpf_crate()))
}

fn clippy(paths: &Paths) -> Result<()> {
    require(paths, "clippy", "clippy")?;
    let mut cargo = build::cargo(paths, "clippy");
    let code = ["--locked", "--workspace", "--all-targets", "--features", "netpol-agent/fault-points"];
    command::run(cargo.args(code).args(["--", "-Dwarnings"]))
}

/// A rustup toolchain may come without some of its components.
fn require(paths: &Paths, subcommand: &str, component: &str) -> Result<()> {
    command::output(build::cargo(paths, subcommand).arg("--version"))
        .map(drop)
        .with_context(|| format!("cargo {subcommand} is missing: `rustup component add {component}`"))
}

/// What `cargo clippy` does, with the clippy of the compiler that has the BPF target: a foreign one cannot read its `core`.
fn clippy_on_kernel_programs(paths: &Paths, toolchain: &Toolchain) -> Result<()> {
    let Some(driver) = &toolchain.compiler.clippy_driver else {
        bail!("{} has no clippy: `rustup component add clippy --toolchain nightly`", toolchain.compiler.name);
    };
    let mut cargo = toolchain.cargo(paths, "check");
    // clippy-driver splits its arguments at this word.
    cargo.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    command::run(&mut cargo)
}

fn documentation(paths: &Paths) -> Result<()> {
    let mut cargo = build::cargo(paths, "doc");
    cargo.args(["--quiet", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings");
    command::run(&mut cargo)
}

fn tidy(paths: &Paths) -> Result<()> {
    let tree = Tree::read(paths)?;
    let mut found = Vec::new();
    size::check(&tree, &mut found);
    modules::check(&tree, &mut found);
    manifest::check(&tree, &mut found);
    rooms::check(&tree, &mut found);
    strays::check(&tree, paths, &mut found);
    reasons::check(&tree, &mut found);
    points::check(&tree, &mut found);
    if !found.is_empty() {
        bail!("{} findings:\n{}", found.len(), found.join("\n"));
    }
    Ok(())
}
