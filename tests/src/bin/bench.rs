//! Measures what netpol costs, and what it saves; see tests/README.md.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use netpol_tests::bench::{Report, connections, packets};

/// Measures nanoseconds per packet, and connections between two pods with and without netpol.
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Write the results to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::default();
    eprintln!("Single packets through the loaded programs …");
    let single = packets(arguments.quick)?;
    for series in &single {
        report.add(series);
    }
    eprintln!("Connections between two pods of one node, client and server on one core …");
    connections(arguments.quick, &mut report)?;
    print(&report);
    if let Some(path) = arguments.json {
        fs::write(&path, serde_json::to_string_pretty(&report)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn print(report: &Report) {
    let mut table = new_table(["measurement", "min", "median", "max", "unit"]);
    for m in &report.measurements {
        table.add_row(
            [vec![Cell::new(&m.name)], numbers([m.min, m.median, m.max], 1), vec![Cell::new(m.unit)]]
                .concat(),
        );
    }
    println!("{table}\n");
    let mut table = new_table(["ratio, round by round", "min", "median", "max", ""]);
    for r in &report.ratios {
        let remark = if r.name.contains(".raw_again_") { "A/A: both without netpol" } else { "" };
        table.add_row(
            [vec![Cell::new(&r.name)], numbers([r.min, r.median, r.max], 3), vec![Cell::new(remark)]]
                .concat(),
        );
    }
    println!("{table}");
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn numbers(values: [f64; 3], digits: usize) -> Vec<Cell> {
    let cell = |value: f64| Cell::new(format!("{value:.digits$}")).set_alignment(CellAlignment::Right);
    values.map(cell).to_vec()
}
