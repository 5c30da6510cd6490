//! `conformance DIR`: runs a folder of conformance cases and says which failed.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use netpol_tests::{
    conformance::{Family, OracleTarget, Report, SocketTarget, Stage, Suite, Target, run_suite},
    station::{KernelGround, ModelGround},
};

/// Runs NetworkPolicy conformance cases. The last line is `N passed, N failed`; exit code 1 if any failed.
#[derive(Parser)]
struct Options {
    /// Folder of cases, with INDEX.json.
    dir: PathBuf,
    /// Address family of the pods.
    #[arg(long, default_value = "4", value_parser = family)]
    family: Family,
    /// What is under test.
    #[arg(long, default_value = "packet")]
    mode: Mode,
    /// Only cases whose id contains this.
    #[arg(long, default_value = "")]
    case: String,
    /// Also write the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The kernel programs, packet by packet through `BPF_PROG_TEST_RUN` (needs root).
    Packet,
    /// Real agents and sockets in pods, TCP and UDP only (needs root).
    Socket,
    /// The agent's engine and rows in memory: no kernel, no root.
    Model,
    /// The reference evaluator alone.
    Oracle,
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        _ => Err("4 or 6".into()),
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let suite = Suite::read(&options.dir, &options.case)?;
    let started = Instant::now();
    let mut target: Box<dyn Target> = match options.mode {
        Mode::Packet => Box::new(Stage::new(KernelGround::enter()?)?),
        Mode::Socket => Box::new(SocketTarget::build(options.family)?),
        Mode::Model => Box::new(Stage::new(ModelGround::default())?),
        Mode::Oracle => Box::new(OracleTarget::default()),
    };
    let report: Report = run_suite(&suite, options.family, target.as_mut());
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(file, text).with_context(|| format!("file {}", file.display()))?;
    }
    println!("{} s", started.elapsed().as_secs());
    println!("{report}");
    Ok(if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
