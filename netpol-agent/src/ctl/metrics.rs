//! What the agent knows as numbers, in OpenMetrics text. `docs/metrics.md` lists every metric.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use netpol_common::{
    direction::Direction,
    names,
    reason::DropReason,
    stats::{self, Counter as Row, Extra},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::{
    Measures,
    api::{EndpointView, Memory, PendingReason},
};
use crate::{
    dataplane::{Capacity, RowCounts},
    flow::FlowMetrics,
    model::Level,
    source::{Phase, Restart, Watch},
};

/// Labels of one sample.
type Labels = Vec<(&'static str, &'static str)>;

/// What the metrics are made from.
#[derive(Clone, Debug)]
pub struct Numbers<'a> {
    /// The pods of this node, and interfaces without a pod.
    pub endpoints: &'a [EndpointView],
    /// Pods pending for longer than the deadline.
    pub overdue: usize,
    /// Policies held back because they do not fit.
    pub policies_refused: usize,
    /// Rows of `np_stats`.
    pub counters: &'a [Row],
    /// Entries and capacity of the connection tables, IPv4 and IPv6.
    pub connections: [(usize, usize); 2],
    /// How much the other maps hold.
    pub rows: RowCounts,
    /// What netpol takes of the node's memory.
    pub memory: Memory,
    /// And how much they could hold.
    pub capacity: &'a Capacity,
    /// Value of the epoch counter.
    pub epoch: u32,
    /// The maps hold what is wanted.
    pub in_sync: bool,
    /// Uplinks with the XDP program, by mode.
    pub xdp: [(&'static str, usize); 2],
    /// Frames that it has translated.
    pub xdp_frames: u64,
    /// Everything that the source holds has been delivered and put in force once.
    pub ready: bool,
    /// What is wrong with objects, pods and the source.
    pub problems: &'a BTreeMap<Level, usize>,
    /// The watches of an API server; none of a folder.
    pub watches: &'a BTreeMap<&'static str, Watch>,
    /// What became of Kubernetes Events.
    pub events: [(&'static str, u64); 3],
    /// What was measured as it happened.
    pub measures: &'a Measures,
    /// Of flow records.
    pub flows: &'a FlowMetrics,
}

/// The metrics as OpenMetrics text, with its final `# EOF`. Without that, as the format has it, the text is not complete.
#[must_use]
pub fn render(numbers: &Numbers<'_>) -> String {
    let mut registry = Registry::with_prefix("netpol");
    pods(&mut registry, numbers);
    packets(&mut registry, numbers.counters);
    xdp(&mut registry, numbers);
    tables(&mut registry, numbers);
    memory(&mut registry, numbers.memory);
    watches(&mut registry, numbers.watches);
    kubernetes_events(&mut registry, numbers.events);
    numbers.measures.register(&mut registry);
    numbers.flows.register(&mut registry);
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        tracing::error!(%error, "writing the metrics");
    }
    text
}

fn pods(registry: &mut Registry, numbers: &Numbers<'_>) {
    let pending = gauges(
        registry,
        "pods_pending",
        "Pods and interfaces of this node that are closed until their policy is in place",
    );
    for reason in PendingReason::ALL {
        let count = numbers.endpoints.iter().filter(|e| e.pending == Some(reason)).count();
        set(&pending, vec![("reason", reason.name())], count);
    }
    gauge(
        registry,
        "pods_pending_overdue",
        "Of these, those pending for longer than --pending-deadline",
        numbers.overdue,
    );
    gauge(registry, "policies_refused", "Policies that do not fit into the maps", numbers.policies_refused);
    gauge(
        registry,
        "epoch",
        "How often verdicts may have changed since the maps were made; it wraps at 2^32",
        numbers.epoch as usize,
    );
    gauge(registry, "in_sync", "1 if the maps hold what is wanted, else 0", usize::from(numbers.in_sync));
    gauge(
        registry,
        "ready",
        "1 once everything was delivered and put in force, else 0",
        usize::from(numbers.ready),
    );
    let problems = gauges(registry, "problems", "What is wrong with objects, pods and the source");
    for (level, name) in [(Level::Error, "error"), (Level::Note, "note")] {
        let count = numbers.problems.get(&level).copied().unwrap_or(0);
        set(&problems, vec![("level", name)], count);
    }
}

fn kubernetes_events(registry: &mut Registry, results: [(&'static str, u64); 3]) {
    let events =
        counters(registry, "kubernetes_events", "Kubernetes Events about objects, by what became of them");
    for (result, count) in results {
        events.get_or_create(&vec![("result", result)]).inc_by(count);
    }
}

fn watches(registry: &mut Registry, watches: &BTreeMap<&'static str, Watch>) {
    let states = gauges(registry, "watch_state", "1 for what the watch of a kind is at, else 0");
    let lag = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    registry.register_with_unit(
        "watch_lag",
        "Since the server last said anything of the kind, be it that nothing has changed",
        Unit::Seconds,
        lag.clone(),
    );
    let restarts = counters(registry, "watch_restarts", "Lists and watches that were begun again");
    for (kind, watch) in watches {
        for phase in Phase::ALL {
            let labels = vec![("kind", *kind), ("state", phase.name())];
            set(&states, labels, usize::from(watch.phase == phase));
        }
        // What is not there has nothing to say.
        let silence = if watch.phase == Phase::Absent { 0.0 } else { watch.heard.elapsed().as_secs_f64() };
        lag.get_or_create(&vec![("kind", *kind)]).set(silence);
        for (why, count) in Restart::ALL.into_iter().zip(watch.restarts) {
            let labels = vec![("kind", *kind), ("reason", why.name())];
            restarts.get_or_create(&labels).inc_by(count);
        }
    }
}

fn xdp(registry: &mut Registry, numbers: &Numbers<'_>) {
    let uplinks = gauges(registry, "xdp_uplinks", "Uplinks with the XDP program");
    for (mode, count) in numbers.xdp {
        set(&uplinks, vec![("mode", mode)], count);
    }
    let frames = Counter::<u64>::default();
    frames.inc_by(numbers.xdp_frames);
    registry.register("xdp_frames", "Frames that XDP has translated since the agent started", frames);
}

fn packets(registry: &mut Registry, rows: &[Row]) {
    let dropped = counters(registry, "dropped_packets", "Packets dropped");
    let dropped_bytes = Family::<Labels, Counter>::default();
    registry.register_with_unit(
        "dropped",
        "Their bytes, with Ethernet headers",
        Unit::Bytes,
        dropped_bytes.clone(),
    );
    let forwarded = counters(registry, "forwarded_packets", "Packets that opened a connection");
    let forwarded_bytes = Family::<Labels, Counter>::default();
    registry.register_with_unit(
        "forwarded",
        "Their bytes, with Ethernet headers",
        Unit::Bytes,
        forwarded_bytes.clone(),
    );
    for direction in [Direction::Ingress, Direction::Egress] {
        let row =
            |reason: u8| rows.get(stats::index(reason, direction) as usize).copied().unwrap_or_default();
        let labels = vec![("direction", direction.name())];
        forwarded.get_or_create(&labels).inc_by(row(0).packets);
        forwarded_bytes.get_or_create(&labels).inc_by(row(0).bytes);
        for reason in DropReason::ALL {
            let labels = vec![("reason", reason.name()), ("direction", direction.name())];
            dropped.get_or_create(&labels).inc_by(row(*reason as u8).packets);
            dropped_bytes.get_or_create(&labels).inc_by(row(*reason as u8).bytes);
        }
    }
    let events = counters(registry, "events", "What the programs count besides verdicts");
    for extra in Extra::ALL {
        let count = rows.get(extra.index() as usize).map_or(0, |row| row.packets);
        events.get_or_create(&vec![("event", extra.name())]).inc_by(count);
    }
}

fn tables(registry: &mut Registry, numbers: &Numbers<'_>) {
    let entries = gauges(
        registry,
        "conntrack_entries",
        "Entries of the connection tables, as of the last walk through them",
    );
    let capacity = gauges(registry, "conntrack_capacity", "Entries that fit");
    for (family, (used, room)) in ["ipv4", "ipv6"].into_iter().zip(numbers.connections) {
        set(&entries, vec![("family", family)], used);
        set(&capacity, vec![("family", family)], room);
    }
    let used = gauges(registry, "map_rows", "Rows of the maps that the agent writes");
    let room = gauges(registry, "map_capacity", "Rows that fit");
    for (map, (rows, capacity)) in fills(numbers.rows, numbers.capacity) {
        set(&used, vec![("map", map)], rows);
        set(&room, vec![("map", map)], capacity);
    }
}

fn memory(registry: &mut Registry, Memory { agent, maps, node: _ }: Memory) {
    let family = Family::<Labels, Gauge>::default();
    registry.register_with_unit("memory", "Memory in use", Unit::Bytes, family.clone());
    for (of, bytes) in [("agent", agent), ("maps", maps)] {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        family.get_or_create(&vec![("of", of)]).set(bytes);
    }
}

/// Rows and capacity of each map that the agent writes.
fn fills(rows: RowCounts, capacity: &Capacity) -> BTreeMap<&'static str, (usize, usize)> {
    let mut fills = BTreeMap::from([
        (names::EP, (rows.endpoints, capacity.endpoints)),
        (names::POLICY, (rows.policy, capacity.policy)),
        (names::PORT, (rows.ports, capacity.ports)),
        (names::SVC, (rows.services, capacity.services)),
    ]);
    let both = [
        ([names::PEER4, names::PEER6], rows.peers, capacity.peers),
        ([names::CIDR4, names::CIDR6], rows.cidrs, capacity.cidrs),
        ([names::FE4, names::FE6], rows.frontends, capacity.frontends),
        ([names::BE4, names::BE6], rows.backends, capacity.backends),
        ([names::MEMBER4, names::MEMBER6], rows.members, capacity.members),
        ([names::RANGE4, names::RANGE6], rows.ranges, capacity.ranges),
        ([names::SVCNET4, names::SVCNET6], rows.service_nets, capacity.service_nets),
        ([names::CLUSTER4, names::CLUSTER6], rows.cluster, capacity.cluster),
    ];
    for (maps, rows, capacity) in both {
        fills.extend(maps.into_iter().zip(rows.map(|rows| (rows, capacity))));
    }
    fills
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Gauge> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(number(value));
    registry.register(name, help, gauge);
}

fn set(family: &Family<Labels, Gauge>, labels: Labels, value: usize) {
    family.get_or_create(&labels).set(number(value));
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
