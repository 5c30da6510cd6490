//! How the demo speaks.

use std::collections::BTreeMap;

use comfy_table::{Cell, Table, presets};
use netpol_agent::flow::{FlowRecord, PartyRecord};

/// A chapter.
pub(crate) fn chapter(number: u32, title: &str) {
    println!("\n{number}. {title}");
}

/// A sentence that is true.
pub(crate) fn say(sentence: impl AsRef<str>) {
    println!("   {}", sentence.as_ref());
}

/// How often each pod has answered.
pub(crate) fn spread(counts: &BTreeMap<String, usize>) {
    for (pod, count) in counts {
        println!("     {pod:<12} {count:>3}  {}", "#".repeat(*count));
    }
}

/// Who reaches whom; rows ask columns.
pub(crate) fn matrix(rows: &[&str], columns: &[(&str, u16)], reached: impl Fn(&str, &str) -> Option<bool>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = columns.iter().map(|(pod, port)| Cell::new(format!("{}:{port}", short(pod))));
    table.set_header(std::iter::once(Cell::new("from \\ to")).chain(header));
    for row in rows {
        let cells = columns.iter().map(|(column, _)| match reached(row, column) {
            None => Cell::new("-"),
            Some(true) => Cell::new("yes"),
            Some(false) => Cell::new("no"),
        });
        table.add_row(std::iter::once(Cell::new(row)).chain(cells));
    }
    println!("{}", indent(&table.to_string()));
}

/// A flow record.
pub(crate) fn record(record: &FlowRecord) {
    let FlowRecord { protocol, verdict, node, direction, .. } = record;
    let end = |end: &Option<PartyRecord>| {
        end.as_ref().map_or_else(|| "?".to_owned(), |e| format!("{e} ({})", e.address))
    };
    let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
    println!("     {protocol} {} → {}", end(&record.source), end(&record.destination));
    println!(
        "     {verdict} on {node}, {direction}: reason {}, isolated by {}",
        record.reason.as_deref().unwrap_or("?"),
        policies.join(" and ")
    );
}

/// What a program has printed.
pub(crate) fn output(text: &str) {
    println!("{}", indent(text.trim_end()));
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("     {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

fn short(pod: &str) -> &str {
    pod.rsplit('/').next().unwrap_or(pod)
}
