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

use std::{num::NonZero, panic::resume_unwind, path::Path, thread};

use anyhow::{Result, bail, ensure};

use self::{
    guest::Guest,
    kernel::Kernel,
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
    let mut kernels = Vec::new();
    for series in chosen {
        let kernel = kernel::ensure(&mirror, &folder, series, options.refresh);
        if let Err(error) = &kernel {
            println!("vm: {}: skipped, its package cannot be had: {error:#}", series.name);
        }
        kernels.push((series, kernel.ok()));
    }
    let report = boot_each(&qemu, &guest, &folder, kernels)?;
    report.print();
    report.verdict()
}

/// As many at a time as there are processors: an emulated one keeps a real one busy.
fn boot_each(
    qemu: &Qemu,
    guest: &Guest,
    folder: &Path,
    kernels: Vec<(&'static Series, Option<Kernel>)>,
) -> Result<Report> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let mut report = Report::default();
    let mut waiting = kernels.into_iter();
    loop {
        let batch: Vec<_> = waiting.by_ref().take(workers).collect();
        if batch.is_empty() {
            return Ok(report);
        }
        let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
            let boot = |(series, kernel): &(&Series, Option<Kernel>)| match kernel {
                Some(kernel) => qemu.boot(kernel, guest, &folder.join(format!("{}.log", series.name))),
                None => Ok(Outcome::Skipped),
            };
            let threads: Vec<_> = batch.iter().map(|one| scope.spawn(move || boot(one))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        for ((series, kernel), outcome) in batch.into_iter().zip(outcomes) {
            let name = kernel.map_or_else(|| series.name.to_owned(), |kernel| kernel.release);
            let outcome = outcome?;
            println!("vm: {name}: {}", outcome.in_words());
            report.add(series, name, outcome);
        }
    }
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
