//! The page about flow records says what a record looks like in JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{FlowRecord, PartyRecord, SCHEMA, Traffic, tests_support::sample};
use crate::model::{Name, Workload};

/// With every field.
fn full() -> FlowRecord {
    let mut record = sample();
    let fill = |party: &mut PartyRecord| {
        party.workload = Some(Workload { kind: "StatefulSet".into(), name: "db".into() }.into());
        party.service = Some(Name::new("shop", "db"));
        party.node = Some("node-1".into());
    };
    record.translated = record.destination.clone();
    [&mut record.source, &mut record.destination, &mut record.translated]
        .into_iter()
        .flatten()
        .for_each(fill);
    record.first = Some(record.time);
    let policy = &mut record.policies[0];
    (policy.index, policy.rule, policy.kept) = (Some(0), Some("spec.ingress[0]".into()), true);
    policy.peer = Some("spec.ingress[0].from[0]".into());
    record.nearest = Some("x".into());
    record.ingress = "x".into();
    (record.icmp_type, record.suppressed) = (Some(8), 1);
    let traffic = Traffic { packets_sent: 1, packets_received: 1, bytes_sent: 1, bytes_received: 1 };
    record.traffic = Some(traffic);
    record
}

fn flatten(value: &Value, path: &str, found: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "list",
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Null => panic!("{path} is null"),
    };
    if !path.is_empty() {
        found.insert(path.trim_end_matches("[]").to_owned(), kind);
    }
    match value {
        // Keys of labels are people's.
        Value::Object(fields) if !path.ends_with(".labels") => fields.iter().for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            flatten(value, &path, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| {
            if let Value::Object(fields) = item {
                fields.iter().for_each(|(name, v)| flatten(v, &format!("{path}[].{name}"), found));
            }
        }),
        _ => {}
    }
}

#[test]
fn the_page_lists_every_field_with_its_type() {
    let page = include_str!("../../../docs/flows.md");
    assert!(page.contains(&format!("Version {SCHEMA}, in the field `schema`")));
    let rows = page.lines().skip_while(|line| !line.starts_with("## The schema"));
    let told: BTreeMap<String, String> = rows
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').collect();
            Some((cells[0].trim().trim_end_matches('`').to_owned(), cells[1].trim().to_owned()))
        })
        .collect();
    let record = full();
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<FlowRecord>(json.clone()).unwrap(), record);
    let mut found = BTreeMap::new();
    flatten(&json, "", &mut found);
    let party = |end: &str| -> BTreeSet<String> {
        found.keys().filter_map(|path| path.strip_prefix(&format!("{end}.")).map(str::to_owned)).collect()
    };
    assert_eq!((party("source"), party("source")), (party("destination"), party("translated")));
    found.retain(|path, _| !path.starts_with("destination.") && !path.starts_with("translated."));
    let found: BTreeMap<String, String> = found.into_iter().map(|(path, kind)| (path, kind.into())).collect();
    assert_eq!(told, found);
}
