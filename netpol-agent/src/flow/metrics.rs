use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::record::{FlowRecord, Kind, Verdict};

/// Series of each breakdown; what comes beyond counts as `other`.
const MAX_SERIES: usize = 1000;
/// Labels of what comes beyond.
const OTHER: &str = "other";

/// A breakdown of drops by names, which are as many as the cluster has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Breakdown {
    /// By the policies that isolate
    Policy,
    /// By the namespace of the pod whose rules decided
    Namespace,
}

/// Where records are exported to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sink {
    /// A file of JSON lines.
    File,
    /// JSON lines on stdout.
    Stdout,
    /// A collector of OpenTelemetry logs.
    Otlp,
    /// The folder that `simulate` and `suggest` read.
    Store,
}

impl Sink {
    const ALL: [Self; 4] = [Self::File, Self::Stdout, Self::Otlp, Self::Store];

    /// The word in metrics and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Otlp => "otlp",
            Self::Store => "store",
        }
    }
}

type Labels = Vec<(&'static str, &'static str)>;

/// Records by what they say, and what became of those that are exported.
#[derive(Debug)]
pub struct FlowMetrics {
    records: Family<Labels, Counter>,
    exports: Family<Labels, Counter>,
    policies: Option<Named>,
    namespaces: Option<Named>,
}

impl Default for FlowMetrics {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl FlowMetrics {
    /// Counts from 0, with these breakdowns.
    #[must_use]
    pub fn new(breakdowns: &[Breakdown]) -> Self {
        let named = |breakdown| breakdowns.contains(&breakdown).then(Named::default);
        let metrics = Self {
            records: Family::default(),
            exports: Family::default(),
            policies: named(Breakdown::Policy),
            namespaces: named(Breakdown::Namespace),
        };
        // All that there can be: a counter that is not there yet is not 0.
        for verdict in [Verdict::Forwarded, Verdict::Dropped, Verdict::Audit] {
            for direction in ["ingress", "egress"] {
                drop(metrics.records.get_or_create(&of(verdict, direction)));
            }
        }
        for sink in Sink::ALL {
            metrics.exported(sink, 0);
            metrics.lost(sink, 0);
        }
        metrics
    }

    /// Counts the packets that a record tells of.
    pub fn count(&self, record: &FlowRecord) {
        if !matches!(record.kind, Kind::Packet | Kind::Opened) {
            return;
        }
        let count = record.suppressed.max(1);
        let direction = if record.direction == "ingress" { "ingress" } else { "egress" };
        self.records.get_or_create(&of(record.verdict, direction)).inc_by(count);
        if record.verdict == Verdict::Forwarded {
            return;
        }
        if let Some(policies) = &self.policies {
            for policy in &record.policies {
                policies.add(direction, &[("namespace", &policy.namespace), ("policy", &policy.name)], count);
            }
        }
        if let Some(namespaces) = &self.namespaces {
            let receiver = record.translated.as_ref().or(record.destination.as_ref());
            let end = if direction == "ingress" { receiver } else { record.source.as_ref() };
            let namespace = end.and_then(|end| end.namespace.as_deref()).unwrap_or_default();
            namespaces.add(direction, &[("namespace", namespace)], count);
        }
    }

    /// A sink has taken records.
    pub fn exported(&self, sink: Sink, count: u64) {
        self.exports.get_or_create(&vec![("sink", sink.name()), ("result", "exported")]).inc_by(count);
    }

    /// A sink was too slow for records, or could not take them.
    pub fn lost(&self, sink: Sink, count: u64) {
        self.exports.get_or_create(&vec![("sink", sink.name()), ("result", "lost")]).inc_by(count);
    }

    /// Adds all of it to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "flow_records",
            "Flow records, with those that they stand for",
            self.records.clone(),
        );
        registry.register(
            "flow_exports",
            "Flow records for sinks, by what became of them",
            self.exports.clone(),
        );
        if let Some(Named { family, .. }) = &self.policies {
            registry.register("policy_drops", "Drops, by the policies that isolate", family.clone());
        }
        if let Some(Named { family, .. }) = &self.namespaces {
            registry.register("namespace_drops", "Drops, by the namespace of the pod", family.clone());
        }
    }
}

fn of(verdict: Verdict, direction: &'static str) -> Labels {
    let verdict = match verdict {
        Verdict::Forwarded => "forwarded",
        Verdict::Dropped => "dropped",
        Verdict::Audit => "audit",
    };
    vec![("verdict", verdict), ("direction", direction)]
}

/// Counters whose labels are names.
#[derive(Debug, Default)]
struct Named {
    family: Family<NameLabels, Counter>,
    known: Mutex<HashSet<NameLabels>>,
}

type NameLabels = Vec<(&'static str, String)>;

impl Named {
    fn add(&self, direction: &'static str, names: &[(&'static str, &str)], count: u64) {
        let labels = |name: &dyn Fn(&str) -> String| -> NameLabels {
            let names = names.iter().map(|(label, value)| (*label, name(value)));
            [("direction", direction.to_owned())].into_iter().chain(names).collect()
        };
        let mut wanted = labels(&str::to_owned);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&wanted) {
            if known.len() < MAX_SERIES {
                known.insert(wanted.clone());
            } else {
                wanted = labels(&|_| OTHER.to_owned());
            }
        }
        self.family.get_or_create(&wanted).inc_by(count);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::flow::tests_support::sample;

    fn text(metrics: &FlowMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn drops_are_broken_down_only_if_that_is_asked_for() {
        let (plain, named) =
            (FlowMetrics::default(), FlowMetrics::new(&[Breakdown::Policy, Breakdown::Namespace]));
        for metrics in [&plain, &named] {
            metrics.count(&FlowRecord { suppressed: 5, ..sample() });
            let counted = "flow_records_total{verdict=\"dropped\",direction=\"ingress\"} 5";
            assert!(text(metrics).contains(counted), "{}", text(metrics));
        }
        assert!(!text(&plain).contains("shop"));
        for line in [
            "policy_drops_total{direction=\"ingress\",namespace=\"shop\",policy=\"db-ingress\"} 5",
            "namespace_drops_total{direction=\"ingress\",namespace=\"shop\"} 5",
        ] {
            assert!(text(&named).contains(line), "{}", text(&named));
        }
    }

    #[test]
    fn names_beyond_the_bound_are_others() {
        let named = Named::default();
        (0..MAX_SERIES + 5).for_each(|n| named.add("egress", &[("namespace", &format!("n{n}"))], 1));
        named.add("egress", &[("namespace", "n0")], 1);
        let value = |name: &str| {
            let labels = vec![("direction", "egress".to_owned()), ("namespace", name.to_owned())];
            named.family.get_or_create(&labels).get()
        };
        assert_eq!((value("n0"), value(OTHER)), (2, 5));
    }
}
