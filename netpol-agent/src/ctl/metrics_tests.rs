use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::*;
use crate::{
    ctl::{Programmed, Stage, State as _, fixture::Fixture},
    source::Watches,
};

/// Names and types as the text declares them.
fn declared(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split_once(' ')).map(|(name, kind)| (name.into(), kind.into())).collect()
}

/// The label names and how many samples each metric has.
/// The parts of a histogram count as one metric.
fn samples(text: &str) -> BTreeMap<String, (BTreeSet<String>, usize)> {
    let mut found: BTreeMap<String, (BTreeSet<String>, usize)> = BTreeMap::new();
    let histograms: Vec<String> =
        declared(text).into_iter().filter(|(_, kind)| kind == "histogram").map(|(name, _)| name).collect();
    let metric = |name: &str| {
        let part = |histogram: &&String| {
            name.strip_prefix(histogram.as_str())
                .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        };
        histograms.iter().find(part).cloned().unwrap_or_else(|| name.trim_end_matches("_total").to_owned())
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a sample and its value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let entry = found.entry(metric(name)).or_default();
        entry.0.extend(labels.map(|(name, _)| name.to_owned()));
        entry.1 += 1;
    }
    found
}

/// The table of `docs/metrics.md`: name, type, labels, bound.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>, usize)> {
    let page = include_str!("../../../docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `netpol_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`')).filter(|label| *label != "-");
        let bound = cells[4].parse().expect("a bound is a number");
        let name = cells[1].trim_end_matches("_total").to_owned();
        (name, (cells[2].to_owned(), labels.map(str::to_owned).collect(), bound))
    })
    .collect()
}

#[test]
fn the_page_lists_every_metric_with_its_type_labels_and_number_of_series() {
    let text = Fixture::new().metrics();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (declared, samples) = (declared(&text), samples(&text));
    let seen: BTreeMap<_, _> = declared
        .into_iter()
        .map(|(name, kind)| {
            let (labels, count) = samples.get(&name).cloned().unwrap_or_default();
            (name, (kind, labels, count))
        })
        .collect();
    assert_eq!(seen, documented());
}

#[test]
fn numbers_are_those_of_the_maps_and_counters() {
    let mut counters = vec![Row::default(); stats::ROWS as usize];
    counters[stats::index(0, Direction::Egress) as usize] = Row { packets: 7, bytes: 700 };
    counters[stats::index(DropReason::Policy as u8, Direction::Ingress) as usize].packets = 2;
    counters[Extra::Untracked.index() as usize].packets = 5;
    let capacity = Capacity {
        ports: 1,
        policy: 2,
        cidrs: 3,
        peers: 4,
        endpoints: 5,
        frontends: 6,
        services: 7,
        backends: 8,
        members: 8,
        ranges: 8,
        service_nets: 8,
        cluster: 8,
    };
    let (watches, measures) = (Watches::default(), Measures::default());
    watches.enter("Pod", Phase::Failing);
    measures.programmed(Programmed::Endpoints, Duration::from_millis(700));
    measures.programmed(Programmed::Policy, Duration::from_secs(70));
    measures.compiled(Duration::from_millis(1));
    measures.reached(Stage::Delivered, Duration::from_millis(1500));
    let numbers = Numbers {
        endpoints: &[],
        overdue: 1,
        policies_refused: 3,
        counters: &counters,
        connections: [(10, 20), (0, 40)],
        rows: RowCounts::default(),
        memory: Memory { agent: 3 << 20, maps: 5 << 20, node: 9 << 30 },
        capacity: &capacity,
        epoch: 9,
        in_sync: true,
        xdp: [("native", 1), ("generic", 0)],
        xdp_frames: 7,
        ready: true,
        problems: &[(Level::Note, 4)].into(),
        watches: &watches.all(),
        events: [("created", 5), ("needless", 0), ("failed", 0)],
        measures: &measures,
        flows: &FlowMetrics::default(),
    };
    let text = render(&numbers);
    for line in [
        "netpol_forwarded_packets_total{direction=\"egress\"} 7",
        "netpol_forwarded_bytes_total{direction=\"egress\"} 700",
        "netpol_dropped_packets_total{reason=\"policy\",direction=\"ingress\"} 2",
        "netpol_dropped_packets_total{reason=\"spoofed\",direction=\"ingress\"} 0",
        "netpol_events_total{event=\"untracked\"} 5",
        "netpol_conntrack_entries{family=\"ipv4\"} 10",
        "netpol_conntrack_capacity{family=\"ipv6\"} 40",
        "netpol_map_capacity{map=\"np_peer6\"} 4",
        "netpol_memory_bytes{of=\"agent\"} 3145728",
        "netpol_memory_bytes{of=\"maps\"} 5242880",
        "netpol_startup_seconds{until=\"delivered\"} 1.5",
        "netpol_startup_seconds{until=\"in-force\"} 0.0",
        "netpol_pods_pending{reason=\"no-interface\"} 0",
        "netpol_pods_pending_overdue 1",
        "netpol_policies_refused 3",
        "netpol_epoch 9",
        "netpol_in_sync 1",
        "netpol_xdp_uplinks{mode=\"native\"} 1",
        "netpol_xdp_frames_total 7",
        "netpol_ready 1",
        "netpol_kubernetes_events_total{result=\"created\"} 5",
        "netpol_problems{level=\"error\"} 0",
        "netpol_problems{level=\"note\"} 4",
        "netpol_watch_state{kind=\"Pod\",state=\"failing\"} 1",
        "netpol_watch_state{kind=\"Pod\",state=\"watching\"} 0",
        "netpol_watch_restarts_total{kind=\"Pod\",reason=\"expired\"} 0",
        "netpol_network_programming_duration_seconds_bucket{le=\"0.5\"} 0",
        "netpol_network_programming_duration_seconds_bucket{le=\"1.0\"} 1",
        "netpol_network_programming_duration_seconds_sum 0.7",
        "netpol_policy_programming_duration_seconds_bucket{le=\"70.0\"} 1",
        "netpol_compile_duration_seconds_count 1",
        "netpol_apply_duration_seconds_count 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
}
