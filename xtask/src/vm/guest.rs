//! What runs inside: an init that loads and attaches the programs, and tests that the host runs too, linked statically.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{cpio::Archive, modules, tools};
use crate::{build, command, paths::Paths, progress::Progress};

/// One target of the workspace that goes into the guest.
struct Part {
    package: &'static str,
    kind: &'static str,
    name: &'static str,
}

/// The guest's first process (see its own file for what it prints).
const INIT: Part = Part { package: "netpol-tests", kind: "--bin", name: "vm-guest" };
/// Integration tests that need nothing but the kernel: the init runs each and counts failures.
const TESTS: &[Part] = &[
    Part { package: "netpol-agent", kind: "--test", name: "load" },
    Part { package: "netpol-tests", kind: "--test", name: "packets" },
];

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Small and quick to build: the guest has no disk, all of it lies in memory.
const PROFILE: &str = "guest";

/// The programs, built.
#[derive(Debug)]
pub(super) struct Guest {
    init: PathBuf,
    tests: Vec<(&'static str, PathBuf)>,
}

/// Builds init and tests.
///
/// # Errors
/// If they do not build.
pub(super) fn build(paths: &Paths) -> Result<Guest> {
    Progress::new("vm: guest", 1).step("building the static programs that run inside", || {
        cargo(paths, "build", &INIT)?;
        let tests = TESTS
            .iter()
            .map(|test| Ok((test.name, paths.root.join(test_program(&cargo(paths, "test", test)?)?))))
            .collect::<Result<_>>()?;
        let init = paths.target.join(TARGET).join(PROFILE).join(INIT.name);
        Ok(Guest { init, tests })
    })
}

/// What cargo says on its error output.
fn cargo(paths: &Paths, subcommand: &str, part: &Part) -> Result<String> {
    let mut cargo = build::cargo(paths, subcommand);
    cargo
        .args(["--package", part.package, part.kind, part.name, "--target", TARGET, "--profile", PROFILE])
        .args((subcommand == "test").then_some("--no-run"))
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    command::error_output(&mut cargo)
}

/// From `Executable tests/load.rs (target/…/load-0123456789abcdef)`.
fn test_program(said: &str) -> Result<PathBuf> {
    said.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Executable "))
        .find_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'))
        .map(PathBuf::from)
        .with_context(|| format!("cargo names no test program:\n{said}"))
}

impl Guest {
    /// The archive to boot with, for a kernel whose modules lie in `modules_folder`.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(super) fn archive(&self, modules_folder: &Path) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "tmp", "run", "bin", "modules", "tests"] {
            archive.folder(folder);
        }
        archive.program("init", &read(&self.init)?);
        for (name, file) in &self.tests {
            archive.program(&format!("tests/{name}"), &read(file)?);
        }
        tools::add(&mut archive)?;
        let modules = modules::in_order(modules_folder)?;
        ensure!(modules.len() < 100, "the order of {} modules does not fit two digits", modules.len());
        for (index, module) in modules.iter().enumerate() {
            archive.program(&format!("modules/{index:02}-{}.ko", module.name), &module.image);
        }
        Ok(archive.finish())
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_what_cargo_says_it_built() {
        let said = "   Compiling netpol\n  Executable tests/load.rs (target/x/guest/deps/load-0a)\n";
        assert_eq!(test_program(said).unwrap(), PathBuf::from("target/x/guest/deps/load-0a"));
    }
}
