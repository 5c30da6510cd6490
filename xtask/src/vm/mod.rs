//! The kernel matrix: boots Debian's kernels in QEMU, each with the same guest, and compares what they say.

mod cpio;
mod guest;
mod kernel;
mod mirror;
mod modules;
mod qemu;
mod report;
mod series;
mod tools;

use anyhow::{Result, bail, ensure};

use self::{
    mirror::Mirror,
    qemu::Qemu,
    report::{Outcome, Report},
    series::{SERIES, Series},
};
use crate::{paths::Paths, setup};

/// What the caller asked for.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Options {
    /// Only this series, such as 6.1 (may be given several times)
    #[arg(long = "kernel", value_name = "SERIES")]
    pub(crate) kernels: Vec<String>,
    /// Look for newer packages even where a kernel of the series is unpacked already
    #[arg(long)]
    pub(crate) refresh: bool,
}

/// Boots every kernel that can be had, prints the table, and fails if one of them failed or a required one did not run.
///
/// # Errors
/// What is missing, or which kernel failed and how.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    let toolchain = setup::all(paths)?;
    crate::build::object(paths, &toolchain)?;
    boot_all(paths, options)
}

/// As [`run`], with the kernel object built.
///
/// # Errors
/// As [`run`].
pub(crate) fn boot_all(paths: &Paths, options: &Options) -> Result<()> {
    let chosen = choose(&options.kernels)?;
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the kernel matrix runs on x86_64 only, this machine is {}",
        std::env::consts::ARCH
    );
    let folder = paths.target.join("vm");
    let mirror = Mirror::of_this_machine(&folder)?;
    let qemu = Qemu::ensure(&mirror, &folder)?;
    let guest = guest::build(paths)?;
    let mut report = Report::default();
    for series in chosen {
        let name = series.name;
        let kernel = match kernel::ensure(&mirror, &folder, series, options.refresh) {
            Ok(kernel) => kernel,
            Err(error) => {
                println!("vm: {name}: skipped, its package cannot be had: {error:#}");
                report.add(series, name.to_owned(), Outcome::Skipped);
                continue;
            }
        };
        let outcome = qemu.boot(&kernel, &guest, &folder.join(format!("{name}.log")))?;
        println!("vm: {}: {}", kernel.release, outcome.in_words());
        report.add(series, kernel.release, outcome);
    }
    report.print();
    report.verdict()
}

fn choose(wanted: &[String]) -> Result<Vec<&'static Series>> {
    if wanted.is_empty() {
        return Ok(SERIES.iter().collect());
    }
    let find = |name: &String| match SERIES.iter().find(|series| series.name == name) {
        Some(series) => Ok(series),
        None => {
            let known: Vec<_> = SERIES.iter().map(|series| series.name).collect();
            bail!("no kernel series {name}; there are {}", known.join(", "))
        }
    };
    wanted.iter().map(find).collect()
}
