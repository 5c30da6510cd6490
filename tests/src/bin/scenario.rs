//! Runs scenario files; see tests/README.md.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use netpol_tests::{
    bed::{AgentOptions, Family, program},
    scenario::{Options, Run, ScenarioReport},
};

/// Runs scenarios: clusters, their manifests, and what must be seen on the wire.
#[derive(Parser)]
struct Arguments {
    /// Files, or folders of files that end in .yaml.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Write what was found to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run the probes of one family only: 4 or 6.
    #[arg(long)]
    family: Option<u8>,
    /// Leave the cluster of the last scenario standing.
    #[arg(long)]
    keep: bool,
    /// Run without agents, against what the kernel forwards by itself.
    #[arg(long)]
    no_agents: bool,
    /// A further argument for each agent; may be given several times.
    #[arg(long = "agent-arg", allow_hyphen_values = true)]
    agent_args: Vec<String>,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let families = match arguments.family {
        None => Family::ALL.to_vec(),
        Some(number) => vec![Family::from_number(number).context("--family: 4 or 6")?],
    };
    let agents = AgentOptions { arguments: arguments.agent_args.clone(), ..AgentOptions::default() };
    let options = Options { families, agents: (!arguments.no_agents).then_some(agents) };
    let files = files(&arguments.paths)?;
    ensure!(!files.is_empty(), "no file that ends in .yaml");

    let mut reports: Vec<ScenarioReport> = Vec::new();
    for (number, file) in (1..).zip(&files) {
        let (report, bed) = Run::file(file, &options);
        print!("{report}");
        reports.push(report);
        if let (true, Some(bed)) = (arguments.keep && number == files.len(), bed) {
            let folder = bed.folder().to_owned();
            let holder = bed.keep(Command::new(program("bed")?).arg("hold").arg(&folder))?;
            println!("The cluster stands in {}; `kill {holder}` removes it.", folder.display());
        }
    }
    let failed = reports.iter().filter(|r| !r.passed).count();
    let passed = reports.len() - failed;
    if let Some(path) = &arguments.json {
        let all = serde_json::json!({"passed": passed, "failed": failed, "scenarios": reports});
        fs::write(path, serde_json::to_string_pretty(&all)?).with_context(|| path.display().to_string())?;
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside: Vec<_> = fs::read_dir(path)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
            inside.retain(|p| is_scenario(p));
            inside.sort();
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn is_scenario(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}
