//! What runs inside: an init that loads and attaches the programs, and tests that the host runs too, as they are there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{cpio::Archive, modules, tools};
use crate::{build, command, paths::Paths, progress::Progress};

/// The guest's first process (see its own file for what it prints).
const INIT: &str = "vm-guest";
/// Integration tests that need nothing but the kernel: the init runs each and counts failures.
const TESTS: [&str; 2] = ["load", "packets"];

/// The programs, without what a debugger would read: the guest has no disk, all of it lies in memory.
#[derive(Debug)]
pub(super) struct Guest {
    init: PathBuf,
    tests: Vec<(&'static str, PathBuf)>,
}

/// Builds init and tests, with all the workspace's features: then they are the very ones that `cargo test` runs.
///
/// # Errors
/// If they do not build.
pub(super) fn build(paths: &Paths) -> Result<Guest> {
    Progress::new("vm: guest", 1).step("building the programs that run inside", || {
        cargo(paths, "build", &["--bin", INIT])?;
        let said = cargo(paths, "test", &["--no-run", "--test", TESTS[0], "--test", TESTS[1]])?;
        let stripped = |name, built: &Path| strip(built, &paths.target.join("vm/guest").join(name));
        let tests = TESTS
            .into_iter()
            .map(|name| Ok((name, stripped(name, &paths.root.join(test_program(&said, name)?))?)))
            .collect::<Result<_>>()?;
        Ok(Guest { init: stripped(INIT, &paths.target.join("debug").join(INIT))?, tests })
    })
}

/// What cargo says on its error output.
fn cargo(paths: &Paths, subcommand: &str, what: &[&str]) -> Result<String> {
    command::error_output(build::cargo(paths, subcommand).args(["--workspace", "--locked"]).args(what))
}

fn strip(program: &Path, to: &Path) -> Result<PathBuf> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let strip = command::find_program("strip").context("no program strip (package binutils)")?;
    command::run(Command::new(strip).arg("-o").args([to, program]))?;
    Ok(to.to_owned())
}

/// From `Executable tests/load.rs (target/…/load-0123456789abcdef)`.
fn test_program(said: &str, name: &str) -> Result<PathBuf> {
    let programs = said
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Executable "))
        .filter_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'));
    let is_it = |program: &&str| {
        let file = Path::new(program).file_name().and_then(|file| file.to_str());
        file.and_then(|file| file.rsplit_once('-')).is_some_and(|(before, _)| before == name)
    };
    programs
        .into_iter()
        .find(is_it)
        .map(PathBuf::from)
        .with_context(|| format!("cargo names no test program {name}:\n{said}"))
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
        tools::add(&mut archive, [&self.init].into_iter().chain(self.tests.iter().map(|(_, file)| file)))?;
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
        let said = "   Compiling netpol\n  Executable tests/load.rs (target/debug/deps/load-0a)\n  \
                    Executable tests/packets/main.rs (target/debug/deps/packets-0b)\n";
        assert_eq!(test_program(said, "packets").unwrap(), PathBuf::from("target/debug/deps/packets-0b"));
        assert_eq!(test_program(said, "load").unwrap(), PathBuf::from("target/debug/deps/load-0a"));
        assert!(test_program(said, "pack").is_err());
    }
}
