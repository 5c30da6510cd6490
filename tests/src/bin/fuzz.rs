//! `fuzz --comparisons N`: random lives of clusters on the kernel programs, held against the reference evaluator.
//! `fuzz --packets N`: random bytes through the kernel programs, held against a plain model.

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use netpol_tests::{
    barrage::{Barrage, Shot},
    random::{Answered, Differential},
    station::KernelGround,
};

/// Tries the kernel programs with random input. The last line is `N comparisons, D differences` (or packets); exit code 1 if
/// there is a difference.
#[derive(Parser)]
struct Options {
    /// Verdicts on first packets of connections, in random clusters under random changes, to compare.
    #[arg(long, required_unless_present = "packets", conflicts_with = "packets")]
    comparisons: Option<usize>,
    /// Packets of any bytes, in random clusters, whose fate to compare.
    #[arg(long)]
    packets: Option<usize>,
    /// Where to begin. A difference names the seed that finds it again soon.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Attempts to make a failing life smaller.
const SHRINKING: u32 = 500;
/// Seconds between lines of progress.
const EVERY: u64 = 10;
/// Differences after which it is no use going on.
const ENOUGH: usize = 5;

/// Tries batch after batch until there were enough.
fn campaign(
    what: &str,
    wanted: usize,
    seed: u64,
    mut batch: impl FnMut(u64) -> Result<usize>,
) -> Result<ExitCode> {
    ensure!(wanted > 0, "--{what} 0 compares nothing");
    println!("seed {seed}");
    let (start, mut spoke) = (Instant::now(), 0);
    let (mut done, mut differences) = (0, 0);
    for number in seed.. {
        if done >= wanted || differences == ENOUGH {
            break;
        }
        match batch(number) {
            Ok(compared) => done += compared,
            Err(difference) => {
                differences += 1;
                println!("DIFFERENCE at seed {number}: {difference:#}");
            }
        }
        let seconds = start.elapsed().as_secs();
        if seconds >= spoke + EVERY {
            spoke = seconds;
            println!("{seconds} s: {done} {what}, {} a second", done as u64 / seconds);
        }
    }
    println!("{} s", start.elapsed().as_secs());
    println!("{done} {what}, {differences} differences");
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let ground = KernelGround::enter()?;
    if let Some(packets) = options.packets {
        let (mut barrage, mut shot) = (Barrage::new(ground), Shot::new());
        let code = campaign("packets", packets, options.seed, |seed| barrage.volley(seed, &mut shot));
        eprintln!("{shot:#?}");
        return code;
    }
    let (mut differential, mut sum) = (Differential::new(ground), Answered::default());
    let wanted = options.comparisons.unwrap_or_default();
    let code = campaign("comparisons", wanted, options.seed, |seed| {
        let answered = differential.batch(seed, SHRINKING)?;
        sum += answered;
        Ok(answered.questions)
    });
    eprintln!("{sum:?}");
    code
}
