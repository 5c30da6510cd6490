//! Holds the flow records of an agent against the connections that were made; see tests/README.md.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use comfy_table::{Cell, CellAlignment, Table, presets};
use netpol_tests::soak::{Report, Soak};

/// Makes connections at an even pace, some of them denied, and holds what the agent tells of them against what was made: flow records,
/// metrics, and what is kept on disk. Exit status 1 if something is missing that was not reported as lost.
#[derive(Parser)]
struct Arguments {
    /// How long connections are made
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// New flows a second
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many of 100 flows are denied
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = value_parser!(u8).range(0..=100))]
    drops: u8,
    /// How many seconds the agent remembers a connection that is over; its end is told of then
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u32).range(1..=3_600))]
    remember: u32,
    /// Write the results to this file
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let Arguments { seconds, rate, drops, remember, json } = Arguments::parse();
    let soak = Soak { seconds, rate, drops, remember };
    eprintln!("{rate} new flows a second for {seconds} s, of 100 of them {drops} denied …");
    let report = soak.run()?;
    print(&report);
    if let Some(path) = json {
        fs::write(&path, serde_json::to_string_pretty(&report)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(report.balances())
}

fn print(report: &Report) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "sent", "told of", "reported lost", ""]);
    for account in &report.accounts {
        let mut row = vec![Cell::new(account.what)];
        let numbers = [account.sent, account.told, account.lost];
        row.extend(numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right)));
        row.push(Cell::new(if account.balances() { "" } else { "DOES NOT BALANCE" }));
        table.add_row(row);
    }
    println!("{table}\n");
    let Report { took, cpu, others, .. } = report;
    println!("connections made in {took:.1} s; {others} other records");
    println!("agent: processor time {cpu:.1} s, {:.1} % of a core", cpu / took * 100.0);
    let [before, first, last, most, after] = report.memory().map(|mib| format!("{mib:.1}"));
    println!(
        "agent: resident MiB {before} before, {first} and {last} in the first and last quarter (median), {most} at most, {after} afterwards"
    );
}
