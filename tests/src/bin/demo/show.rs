//! How the demo speaks.

use std::collections::BTreeMap;

use comfy_table::{Cell, Table, presets};
use serde_json::Value;

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

/// A flow record, in one line.
pub(crate) fn record(record: &Value) {
    let end = |name: &str| {
        let end = &record[name];
        let address = end["address"].as_str().unwrap_or("?");
        match (end["namespace"].as_str(), end["pod"].as_str()) {
            (Some(namespace), Some(pod)) => format!("{namespace}/{pod} ({address}:{})", end["port"]),
            _ => format!("{address}:{}", end["port"]),
        }
    };
    let word = |name: &str| record[name].as_str().unwrap_or("").to_owned();
    let policies = record["policies"].as_array().into_iter().flatten();
    let policies: Vec<_> = policies
        .map(|p| format!("{}/{}", p["namespace"].as_str().unwrap_or("?"), p["name"].as_str().unwrap_or("?")))
        .collect();
    println!("     {} {} → {}", word("protocol"), end("source"), end("destination"));
    println!(
        "     {} on {} by {} policy: reason {}, isolated by {}",
        word("verdict"),
        word("node"),
        word("direction"),
        word("reason"),
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
