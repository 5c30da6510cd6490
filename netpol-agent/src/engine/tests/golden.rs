//! Whole clusters: YAML in, rows out, as they stand in `testdata/`.

use std::{fmt::Write as _, path::Path};

use super::Bed;
use crate::dataplane::Frontend;

/// The rows as text, one per line.
fn dump(bed: &Bed) -> String {
    let rows = bed.fake.rows();
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a string");
    for (ifindex, row) in &rows.endpoints {
        line(format_args!(
            "ep {ifindex}: in {:016x} out {:016x} flags {:b}",
            row.slot_in.0, row.slot_out.0, row.flags
        ));
    }
    for (addr, row) in &rows.peers {
        line(format_args!("peer {addr}: class {:016x} ifindex {}", row.class.0, row.ifindex));
    }
    for (prefix, row) in &rows.cidrs {
        line(format_args!("cidr {prefix}: class {:016x}", row.class.0));
    }
    for (key, row) in &rows.policy {
        line(format_args!(
            "policy {:016x} {:016x}: any {:016x} ports {:016x} tcp {:b} udp {:b} sctp {:b}",
            key.slot.0, key.class.0, row.any.0, row.ports.0, row.tcp, row.udp, row.sctp
        ));
    }
    for (key, rule) in &rows.ports {
        line(format_args!(
            "port {:016x} {}/{}/{}: rule {:016x}",
            key.ports.0, key.proto, key.port, key.prefix, rule.0
        ));
    }
    for (frontend, row) in &rows.frontends {
        if *frontend == Frontend::whole(frontend.addr) {
            line(format_args!("fe {}: whole", frontend.addr));
            continue;
        }
        let backends: Vec<String> =
            rows.backends[&row.near].iter().map(|b| format!("{} {}", b.addr, b.port)).collect();
        let n_local = rows.services[&row.near].n_local();
        line(format_args!(
            "fe {} {}/{}: local {n_local} of [{}]",
            frontend.addr,
            frontend.proto,
            frontend.port,
            backends.join(", ")
        ));
    }
    text
}

fn check(name: &str, interfaces: &[(u32, &[&str])]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let read =
        |file: String| std::fs::read_to_string(dir.join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let mut bed = Bed::new();
    for (ifindex, addresses) in interfaces {
        bed.up(*ifindex, addresses);
    }
    bed.apply(&read(format!("{name}.yaml")));
    let found = dump(&bed);
    assert_eq!(found, read(format!("{name}.rows")), "{name} gives\n{found}");
}

#[test]
fn web_shop() {
    check(
        "web-shop",
        &[(10, &["10.244.1.10"]), (11, &["10.244.1.11"]), (20, &["10.244.1.20", "fd00:244:1::20"])],
    );
}

#[test]
fn overlapping_blocks() {
    check("overlapping-blocks", &[(10, &["10.244.1.10"])]);
}
