//! `fuzz --comparisons N`: random lives of clusters on the kernel programs, held against the reference evaluator.

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use netpol_tests::{
    random::{Answered, Differential},
    station::KernelGround,
};

/// Tries the kernel programs with random input. The last line is `N comparisons, D differences`; exit code 1 if there is a
/// difference.
#[derive(Parser)]
struct Options {
    /// Verdicts on first packets of connections, in random clusters under random changes, to compare.
    #[arg(long)]
    comparisons: usize,
    /// Where to begin. A difference names the seed that finds it again at once.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Attempts to make a failing life smaller.
const SHRINKING: u32 = 500;
/// Seconds between lines of progress.
const EVERY: u64 = 10;
/// Differences after which it is no use going on.
const ENOUGH: usize = 5;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    ensure!(options.comparisons > 0, "--comparisons 0 compares nothing");
    println!("seed {}", options.seed);
    let mut differential = Differential::new(KernelGround::enter()?);
    let (start, mut spoke) = (Instant::now(), 0);
    let (mut sum, mut differences) = (Answered::default(), 0);
    for batch in 0.. {
        if sum.questions >= options.comparisons || differences == ENOUGH {
            break;
        }
        match differential.batch(options.seed.wrapping_add(batch), SHRINKING) {
            Ok(answered) => sum += answered,
            Err(difference) => {
                differences += 1;
                println!("DIFFERENCE, again by --seed {}: {difference:#}", options.seed.wrapping_add(batch));
            }
        }
        let seconds = start.elapsed().as_secs();
        if seconds >= spoke + EVERY {
            spoke = seconds;
            println!("{seconds} s: {} compared, {} a second", sum.questions, sum.questions as u64 / seconds);
        }
    }
    println!(
        "{} s: {} through Services, {} denied",
        start.elapsed().as_secs(),
        sum.through_services,
        sum.denied
    );
    println!("{} comparisons, {differences} differences", sum.questions);
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
