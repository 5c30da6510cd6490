//! Runs scenario files; see tests/README.md.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use netpol_tests::{
    bed::{AgentOptions, Cni, Family, Source, program},
    scenario::{Options, Order, Run, ScenarioReport},
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
    /// How changes are delivered.
    #[arg(long, value_enum, default_value_t)]
    order: Order,
    /// What a shuffled order comes from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The CNI plugin of all nodes, instead of those that the scenarios name.
    #[arg(long, value_enum)]
    cni: Option<Cni>,
    /// With XDP on the uplinks of all nodes, whose network carries its frames.
    #[arg(long)]
    xdp: bool,
    /// How many scenarios run at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// How many times as long as usual changes and answers may take, for a machine that is busy.
    #[arg(long, default_value_t = 1)]
    slack: u32,
    /// Leave the cluster of the last scenario standing.
    #[arg(long)]
    keep: bool,
    /// Run without agents, against what the kernel forwards by itself.
    #[arg(long)]
    no_agents: bool,
    /// Where agents have their objects from.
    #[arg(long, value_enum, default_value_t)]
    source: Source,
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
    let agents = AgentOptions {
        arguments: arguments.agent_args.clone(),
        source: arguments.source,
        ..AgentOptions::default()
    };
    let Arguments { order, seed, cni, xdp, jobs, slack, keep, .. } = arguments;
    ensure!(!keep || jobs == 1, "--keep leaves the last cluster standing: not with --jobs");
    let agents = (!arguments.no_agents).then_some(agents);
    let options = Options { families, agents, order, seed, slack, cni, xdp };
    let files = files(&arguments.paths)?;
    ensure!(!files.is_empty(), "no file that ends in .yaml");
    let started = Instant::now();

    let (last, reports) = (Mutex::new(None), Mutex::new(Vec::new()));
    let queue = Mutex::new(files.iter());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(file) = next(&queue) {
                    let (report, bed) = Run::file(file, &options);
                    print!("{report}");
                    locked(&reports).push(report);
                    // The one before it goes now, and not while the queue or the reports are locked.
                    let before = if keep { std::mem::replace(&mut *locked(&last), bed) } else { bed };
                    drop(before);
                }
            });
        }
    });
    let (last, mut reports) = (into_inner(last), into_inner(reports));
    reports.sort_by(|a: &ScenarioReport, b| a.file.cmp(&b.file));
    if let Some(bed) = last {
        let folder = bed.folder().to_owned();
        let holder = bed.keep(Command::new(program("bed")?).arg("hold").arg(&folder))?;
        println!("The cluster stands in {}; `kill {holder}` removes it.", folder.display());
    }
    let failed = reports.iter().filter(|r| !r.passed).count();
    let passed = reports.len() - failed;
    if let Some(path) = &arguments.json {
        let all = serde_json::json!({"passed": passed, "failed": failed, "scenarios": reports});
        fs::write(path, serde_json::to_string_pretty(&all)?).with_context(|| path.display().to_string())?;
    }
    println!("{passed} passed, {failed} failed, in {:.0} s", started.elapsed().as_secs_f32());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn next<'a>(queue: &Mutex<impl Iterator<Item = &'a PathBuf>>) -> Option<&'a PathBuf> {
    locked(queue).next()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Those below folders too, in order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside: Vec<_> = fs::read_dir(path)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
            inside.retain(|p| p.is_dir() || is_scenario(p));
            inside.sort();
            files.extend(self::files(&inside)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn is_scenario(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}
