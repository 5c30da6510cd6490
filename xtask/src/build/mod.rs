//! The kernel object, checked, and the workspace that embeds it.

pub(crate) mod elf;
mod stack;
mod strip;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    command,
    paths::Paths,
    setup::{self, Toolchain},
};

/// How the host programs are built. The kernel object knows one profile only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build: tests, scenarios, demo.
    Dev,
    /// Optimised: benchmarks.
    Release,
}

impl Profile {
    pub(crate) fn from_release_flag(release: bool) -> Self {
        if release { Self::Release } else { Self::Dev }
    }

    pub(crate) fn cargo_args(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }
}

/// Set-up, kernel object, and every program of the workspace.
///
/// # Errors
/// What is missing, or what did not build.
pub(crate) fn all(paths: &Paths, profile: Profile) -> Result<()> {
    let toolchain = setup::all(paths)?;
    object(paths, &toolchain)?;
    command::run(cargo(paths, "build").args(["--workspace", "--bins"]).args(profile.cargo_args()))
}

/// The same with programs that log each packet, and an agent that shows it. Quick to build, slow to run.
///
/// # Errors
/// What is missing, or what did not build.
pub(crate) fn logging(paths: &Paths) -> Result<()> {
    let toolchain = setup::all(paths)?;
    object_with(paths, &toolchain, &["--features", "log"], &[])?;
    command::run(cargo(paths, "build").args(["--package", "netpol-agent", "--features", "bpf-log"]))
}

/// The agent that kills itself before a given write. Its feature does not compile in optimised builds.
///
/// # Errors
/// If it does not build.
pub(crate) fn fault_points(paths: &Paths) -> Result<()> {
    // Of the whole workspace, so that what both depend on has the same features and is there already.
    let program = ["--workspace", "--features", "netpol-agent/fault-points", "--bin", "netpol-agent-faults"];
    command::run(cargo(paths, "build").args(program))
}

/// Builds the kernel object and puts it where the agent's build looks for it.
///
/// # Errors
/// If it does not build, or if the result is not what the loader can handle.
pub(crate) fn object(paths: &Paths, toolchain: &Toolchain) -> Result<()> {
    object_with(paths, toolchain, &[], &[])
}

/// The same object, which does not say where it was built.
///
/// # Errors
/// As [`object`].
pub(crate) fn object_to_ship(paths: &Paths, toolchain: &Toolchain) -> Result<()> {
    object_with(paths, toolchain, &[], &paths.untold())
}

fn object_with(paths: &Paths, toolchain: &Toolchain, features: &[&str], flags: &[String]) -> Result<()> {
    println!("build: kernel object ({})", toolchain.compiler.name);
    command::run(toolchain.cargo_with(paths, "build", flags).args(features))?;
    let built = paths.target.join("bpf/build").join(setup::BPF_TARGET).join("release/netpol-ebpf");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let stripped = strip::without_debug_information(&bytes);
    let checked = stripped.and_then(|object| check(&object).map(|()| object));
    let object = checked.with_context(|| format!("the kernel object {} is unfit", built.display()))?;
    replace_if_changed(&paths.bpf_object(), &object)
}

/// `cargo SUBCOMMAND` on the workspace, with the kernel object named where the agent would not look by itself.
pub(crate) fn cargo(paths: &Paths, subcommand: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(subcommand).current_dir(&paths.root);
    if paths.target != paths.root.join("target") {
        cargo.env("NETPOL_BPF_OBJECT", paths.bpf_object());
    }
    cargo
}

/// aya relocates calls by address within "text" and takes every section of that name for the same one: with two of them a
/// call can land in the wrong function. A surviving panic path is what makes rustc emit the second.
fn check(object: &[u8]) -> Result<()> {
    let elf = elf::Elf::parse(object)?;
    let sections = || elf.sections().iter().map(|section| section.name.as_str());
    let symbols = || elf.symbols().iter().map(|symbol| symbol.name.as_str());
    let texts: Vec<&str> = sections().filter(|name| name.starts_with(".text")).collect();
    ensure!(texts.len() <= 1, "one `.text` section is allowed, it has {texts:?} (no #[cold], no panic path)");
    let panics: Vec<&str> = symbols().filter(|name| name.contains("panic")).collect();
    ensure!(
        panics.is_empty(),
        "a panic can be reached: {panics:?} (indexing, unwrap, division, overflow checks)"
    );
    // An address compared byte by byte becomes a call of it: hundreds of instructions on the path of every packet.
    let compares: Vec<&str> = symbols().filter(|name| matches!(*name, "memcmp" | "bcmp")).collect();
    ensure!(compares.is_empty(), "addresses are compared by {compares:?}, not word by word");
    for section in [".BTF", ".BTF.ext"] {
        ensure!(sections().any(|name| name == section), "it has no `{section}` section");
    }
    stack::check(&elf)
}

/// An unchanged object keeps its time stamp, and with it everything that embeds it.
fn replace_if_changed(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
