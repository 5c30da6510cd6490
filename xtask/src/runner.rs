//! The programs of the `tests` crate that people call through xtask.

use std::process::Command;

use anyhow::Result;

use crate::{
    build::{self, Profile},
    command,
    paths::Paths,
    setup,
};

/// One program of the `tests` crate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runner {
    /// Its binary's name.
    pub(crate) name: &'static str,
    pub(crate) profile: Profile,
}

pub(crate) const DEMO: Runner = Runner { name: "demo", profile: Profile::Dev };
pub(crate) const JOURNEY: Runner = Runner { name: "journey", profile: Profile::Dev };
pub(crate) const SCENARIO: Runner = Runner { name: "scenario", profile: Profile::Dev };
pub(crate) const CONFORMANCE: Runner = Runner { name: "conformance", profile: Profile::Dev };
/// Counts in millions, so everything it runs is optimised.
pub(crate) const FUZZ: Runner = Runner { name: "fuzz", profile: Profile::Release };
/// Measures, so everything it runs is optimised.
pub(crate) const BENCH: Runner = Runner { name: "bench", profile: Profile::Release };
/// Makes connections as fast as it is told, and measures, so everything it runs is optimised.
pub(crate) const SOAK: Runner = Runner { name: "soak", profile: Profile::Release };

/// Sets up, builds, and runs it with the caller's arguments, from the caller's working directory.
///
/// # Errors
/// What is missing or did not build, or that the program failed.
pub(crate) fn run(paths: &Paths, runner: Runner, args: &[String]) -> Result<()> {
    let toolchain = setup::all(paths)?;
    build::object(paths, &toolchain)?;
    build(paths, runner.profile)?;
    command::run(command(paths, runner).args(args))
}

/// The programs of agent and tests. The runners start the agent, which lies beside them.
///
/// # Errors
/// If they do not build.
pub(crate) fn build(paths: &Paths, profile: Profile) -> Result<()> {
    let packages =
        ["--package", "netpol-agent", "--package", "netpol-cni", "--package", "netpol-tests", "--bins"];
    command::run(build::cargo(paths, "build").args(packages).args(profile.cargo_args()))
}

/// The built program itself: a relative path among its arguments means what the caller meant.
pub(crate) fn command(paths: &Paths, runner: Runner) -> Command {
    let folder = match runner.profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    Command::new(paths.target.join(folder).join(runner.name))
}
