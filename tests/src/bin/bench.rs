//! Measures what netpol costs, and what it saves; see tests/README.md.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use netpol_tests::bench::{
    Machine, Report, TOLERANCE, across, changes, connections, events, hold, node_ports, packets, plot, scale,
    services, size,
};

/// Measures nanoseconds per packet, connections between two pods without policies, by netpol and by rules for netfilter,
/// connections to Services and to node ports beside kube-proxy's rules, and how soon a change of policy reaches the packets.
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Measure nothing but this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// The same as `--only changes`.
    #[arg(long)]
    changes: bool,
    /// Write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the results in this file (SVG).
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measure nothing: let one of the single packets, for example `packet.new_denied.v4`, pass again and again for 20 seconds, for a
    /// profiler to watch.
    #[arg(long, value_name = "PACKET", conflicts_with_all = ["quick", "only", "changes", "json", "svg"])]
    hold: Option<String>,
    /// Measure nothing: tell and draw what is in a file that an earlier run has written by --json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "changes", "json"])]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Single packets.
    Packets,
    /// Single packets, the more Services, policies and peers there are.
    Size,
    /// Connections from pod to pod, with and without netpol.
    Connections,
    /// Connections from pod to pod of another node, with and without netpol.
    Across,
    /// Connections to Services, beside kube-proxy's rules.
    Services,
    /// Connections from outside to node ports, beside kube-proxy's rules.
    NodePorts,
    /// From a change of policy to its effect.
    Changes,
    /// Memory and time to sync in a large cluster.
    Scale,
    /// Single changes in a large cluster, and many of them.
    Events,
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
    let mut arguments = Arguments::parse();
    arguments.only.extend(arguments.changes.then_some(Part::Changes));
    if let Some(name) = &arguments.hold {
        return hold(name);
    }
    let report = match &arguments.from {
        Some(path) => read(path)?,
        None => measure(&arguments)?,
    };
    print(&report);
    if let Some(path) = arguments.json {
        write(&path, &serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = arguments.svg {
        write(&path, &plot(&report))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report of this benchmark", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut report = Report { machine: Machine::find()?, ..Report::default() };
    if wanted(Part::Packets) {
        eprintln!("Single packets through the loaded programs …");
        packets(arguments.quick)?.iter().for_each(|series| report.add(series));
    }
    if wanted(Part::Size) {
        eprintln!("The same with more Services, policies and peers, beside the lookups alone …");
        size(arguments.quick, &mut report)?;
    }
    if wanted(Part::Connections) {
        eprintln!(
            "Connections between two pods of one node, client and server on one core: unpoliced, by netpol, iptables and nftables …"
        );
        connections(arguments.quick, &mut report)?;
    }
    if wanted(Part::Across) {
        eprintln!("The same between pods of two nodes: unpoliced, and by netpol …");
        across(arguments.quick, &mut report)?;
    }
    if wanted(Part::Services) {
        eprintln!(
            "The same by way of a Service, beside rules as kube-proxy 1.36 writes them (nftables, iptables) …"
        );
        services(arguments.quick, &mut report)?;
    }
    if wanted(Part::NodePorts) {
        eprintln!("From outside to a node port, by TC and with XDP in front, beside such rules …");
        node_ports(arguments.quick, &mut report)?;
    }
    if wanted(Part::Changes) {
        eprintln!("From the rename of a manifest to the packets that are judged by it …");
        changes(arguments.quick, &mut report)?;
    }
    if wanted(Part::Scale) {
        eprintln!("An agent beside the API server of a large cluster …");
        scale(arguments.quick, &mut report)?;
    }
    if wanted(Part::Events) {
        eprintln!("Changes in a large cluster, one by one and a thousand a second …");
        events(arguments.quick, &mut report)?;
    }
    Ok(report)
}

fn print(report: &Report) {
    let Machine { kernel, processor, cores, measured_on, load, optimised, .. } = &report.machine;
    println!(
        "{processor}, {cores} cores, measured on core {measured_on}; kernel {kernel}; load {load} before"
    );
    if !optimised {
        println!(
            "NOT OPTIMISED: these figures are none of netpol's (cargo xtask bench builds what they need)"
        );
    }
    let mut table = new_table(["measurement", "min", "median", "p99", "max", "unit"]);
    for m in &report.measurements {
        let mut row = vec![Cell::new(&m.name)];
        row.extend(numbers([m.min, m.median], 1));
        row.push(m.p99.map_or_else(|| Cell::new(""), |p99| number(p99, 1)));
        row.extend(numbers([m.max], 1));
        row.push(Cell::new(&m.unit));
        table.add_row(row);
    }
    println!("{table}\n");
    let mut table = new_table(["ratio, round by round", "min", "median", "max", ""]);
    for r in &report.ratios {
        let remark = if r.again { "A/A: the same on two nodes" } else { "" };
        table.add_row(
            [vec![Cell::new(&r.name)], numbers([r.min, r.median, r.max], 3), vec![Cell::new(remark)]]
                .concat(),
        );
    }
    println!("{table}");
    if !report.refused.is_empty() {
        println!(
            "\nrefused, because the A/A pair of the same rounds is off by more than {:.0} %:",
            TOLERANCE * 100.0
        );
    }
    for refused in &report.refused {
        println!("  {} (A/A {:.3})", refused.name, refused.again);
    }
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn numbers<const N: usize>(values: [f64; N], digits: usize) -> Vec<Cell> {
    values.map(|value| number(value, digits)).to_vec()
}

fn number(value: f64, digits: usize) -> Cell {
    Cell::new(format!("{value:.digits$}")).set_alignment(CellAlignment::Right)
}
