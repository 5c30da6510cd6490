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

use std::{
    iter,
    num::NonZero,
    panic::resume_unwind,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

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
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only this series, such as 6.1 (may be given several times)
    #[arg(long = "kernel", value_name = "SERIES")]
    pub(crate) kernels: Vec<String>,
    /// Look for newer packages even where a kernel of the series is unpacked already
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Each kernel may take so many times as long, for a machine that is busy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) slack: u32,
}

/// Boots every kernel that can be had, prints the table, and fails if one of them failed or a required one did not run.
///
/// # Errors
/// What is missing, or which kernel failed and how.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    let toolchain = setup::all(paths)?;
    crate::build::object(paths, &toolchain)?;
    let chosen = choose(&options.kernels)?;
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the kernel matrix runs on x86_64 only, this machine is {}",
        std::env::consts::ARCH
    );
    let folder = paths.target.join("vm");
    let mirror = Mirror::of_this_machine(&folder)?;
    let qemu = Qemu::ensure(&mirror, &folder, options.slack)?;
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

/// As many at a time as there are processors: an emulated one keeps a real one busy. The next kernel starts when one is done, as
/// the old ones take much longer.
fn boot_each(
    qemu: &Qemu,
    guest: &Guest,
    folder: &Path,
    kernels: Vec<(&'static Series, Option<Kernel>)>,
) -> Result<Report> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let waiting = Mutex::new(kernels.iter().enumerate());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Vec<(usize, Result<Outcome>)> {
        iter::from_fn(next)
            .map(|(at, (series, kernel))| match kernel {
                Some(kernel) => (at, qemu.boot(kernel, guest, &folder.join(format!("{}.log", series.name)))),
                None => (at, Ok(Outcome::Skipped)),
            })
            .collect()
    };
    let mut outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    outcomes.sort_by_key(|(at, _)| *at);
    let mut report = Report::default();
    for ((series, kernel), (_, outcome)) in kernels.into_iter().zip(outcomes) {
        let name = kernel.map_or_else(|| series.name.to_owned(), |kernel| kernel.release);
        let outcome = outcome?;
        println!("vm: {name}: {}", outcome.in_words());
        report.add(series, name, outcome);
    }
    Ok(report)
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
