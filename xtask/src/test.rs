//! `cargo xtask test`: everything that must hold, part by part, to the end even if one fails.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    background::Background,
    build::{self, Profile},
    command,
    paths::Paths,
    runner::{self, Runner},
    setup,
};

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Part {
    name: String,
    outcome: Outcome,
    seconds: f32,
}

#[derive(Default)]
struct Session {
    parts: Vec<Part>,
}

/// What the caller asked for.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Run every scenario in every order, wiring and way to attach, and not each in one of those that take turns
    #[arg(long)]
    all_orders: bool,
}

/// Sets up, builds, and runs all tests.
///
/// # Errors
/// If set-up or build fails, or any part did.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!("the tests make network namespaces and load BPF programs: run `cargo xtask test` as root");
    }
    let mut session = Session::default();
    headline("set-up and build");
    let toolchain = setup::all(paths)?;
    build::object(paths, &toolchain)?;
    runner::build(paths, Profile::Dev)?;
    build::fault_points(paths)?;
    let tests = || {
        let mut cargo = build::cargo(paths, "test");
        cargo.args(["--workspace", "--locked"]);
        cargo
    };
    command::run(tests().arg("--no-run"))?;

    // Most of what follows waits more than it computes; emulated kernels take what is left. Busy machines get more patience.
    let matrix = Background::start(&["vm", "--slack=3"], &paths.target.join("xtask-logs/vm.log"));
    session.part("unit and kernel tests", || command::run(tests().arg("--no-fail-fast")));
    let scenarios = scenarios(&paths.root.join("tests/scenarios"))?;
    for (name, third, arguments) in SCENARIOS {
        session.part(&format!("scenarios, {name}"), || {
            let takes = |place: usize| options.all_orders || third.is_none_or(|third| place % 3 == third);
            let files = scenarios.iter().enumerate().filter(|(place, _)| takes(*place)).map(|(_, file)| file);
            let mut runner = runner::command(paths, runner::SCENARIO);
            runner.args(files).args(["--jobs=6", "--slack=6"]).args(arguments);
            command::run(runner.current_dir(&paths.root))
        });
    }
    session.part("demo", || runner(paths, runner::DEMO, &[]));
    // In an unoptimised build, whose figures are worth nothing: that it runs is what is asked.
    session.part("benchmark, two parts of it quickly", || {
        let output = ["--json=target/bench.json", "--svg=target/bench.svg"];
        let quick = ["--quick", "--only=connections", "--only=services"];
        let mut bench = runner::command(paths, Runner { profile: Profile::Dev, ..runner::BENCH });
        command::run(bench.args(quick).args(output).current_dir(&paths.root))
    });
    for family in ["4", "6"] {
        let name = format!("conformance, own cases, IPv{family}");
        session
            .part(&name, || runner(paths, runner::CONFORMANCE, &["tests/conformance", "--family", family]));
        let name = format!("conformance, public cases, IPv{family}");
        if paths.root.join(PUBLIC_CASES).is_dir() {
            session.part(&name, || runner(paths, runner::CONFORMANCE, &[PUBLIC_CASES, "--family", family]));
        } else {
            session.skip(&name, format!("{PUBLIC_CASES} is not there"));
        }
    }
    session.part("kernel matrix, which began beside the others", || matrix.and_then(Background::finish));
    session.verdict()
}

/// Every scenario file, in order.
fn scenarios(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            found.extend(scenarios(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// How the scenarios are run: all of them from a folder as they are written, and all of them from an API server; in each of three other
/// ways every third one, unless all are asked for. Every order of events, every way to wire pods, to attach programs and to forward has
/// its turn. By clsact and without fast path is what kernels before 6.6 and `--fast-path=off` have.
const SCENARIOS: [(&str, Option<usize>, &[&str]); 5] = [
    ("as they are written", None, &[]),
    (
        "reversed, all nodes bridged, with XDP on the uplinks",
        Some(0),
        &["--order=reversed", "--cni=bridge", "--xdp"],
    ),
    ("shuffled, all nodes routed", Some(1), &["--order=shuffled", "--seed=1", "--cni=ptp"]),
    (
        "repeated, from an API server, by clsact and without fast path",
        None,
        &[
            "--order=repeated",
            "--source=server",
            "--agent-arg=--attach=clsact",
            "--agent-arg=--fast-path=off",
        ],
    ),
    ("among others", Some(2), &["--order=spurious"]),
];

/// Cases that other implementations are measured by too; a clone stands alone without them.
const PUBLIC_CASES: &str = "../shared/conformance/cyclonus";

fn runner(paths: &Paths, which: Runner, args: &[&str]) -> Result<()> {
    command::run(runner::command(paths, which).args(args).current_dir(&paths.root))
}

fn headline(name: &str) {
    println!("\n======== {name} ========");
}

impl Session {
    fn part(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        headline(name);
        let start = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                println!("FAILED: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        self.parts.push(Part { name: name.to_owned(), outcome, seconds: start.elapsed().as_secs_f32() });
    }

    fn skip(&mut self, name: &str, why: String) {
        headline(name);
        println!("skipped: {why}");
        self.parts.push(Part { name: name.to_owned(), outcome: Outcome::Skipped(why), seconds: 0.0 });
    }

    /// Prints what became of each part; the last line is plain: `N passed, N failed`.
    fn verdict(&self) -> Result<()> {
        headline("summary");
        for Part { name, outcome, seconds } in &self.parts {
            match outcome {
                Outcome::Passed => println!("passed   {seconds:6.1} s  {name}"),
                Outcome::Failed(_) => println!("FAILED   {seconds:6.1} s  {name}"),
                Outcome::Skipped(why) => println!("skipped             {name}: {why}"),
            }
        }
        for Part { name, outcome, .. } in &self.parts {
            if let Outcome::Failed(error) = outcome {
                println!("\n{name}: {}", error.lines().next().unwrap_or_default());
            }
        }
        let count =
            |wanted: fn(&Outcome) -> bool| self.parts.iter().filter(|part| wanted(&part.outcome)).count();
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let passed = count(|outcome| matches!(outcome, Outcome::Passed));
        println!("\n{passed} passed, {failed} failed");
        match failed {
            0 => Ok(()),
            _ => bail!("{failed} of {} parts failed", self.parts.len()),
        }
    }
}
