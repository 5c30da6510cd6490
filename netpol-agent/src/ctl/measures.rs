//! Durations that are measured as they happen, until somebody reads them.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    metrics::{
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets, linear_buckets},
    },
    registry::{Registry, Unit},
};

/// What has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Programmed {
    /// The endpoints of a Service.
    Endpoints,
    /// A NetworkPolicy.
    Policy,
}

/// Histograms of what the agent does, in seconds. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Measures {
    network: Histogram,
    policy: Histogram,
    compile: Histogram,
    apply: Histogram,
    startup: Family<Vec<(&'static str, &'static str)>, Gauge<f64, AtomicU64>>,
}

/// How far an agent has come since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The source has delivered everything.
    Delivered,
    /// All of it is in force.
    InForce,
}

impl Stage {
    const ALL: [Self; 2] = [Self::Delivered, Self::InForce];

    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::InForce => "in-force",
        }
    }
}

impl Default for Measures {
    fn default() -> Self {
        let programming = || Histogram::new(programming_buckets());
        let work = || Histogram::new(work_buckets());
        let startup = Family::default();
        for stage in Stage::ALL {
            drop(startup.get_or_create(&vec![("until", stage.name())]));
        }
        Self { network: programming(), policy: programming(), compile: work(), apply: work(), startup }
    }
}

/// Those of kube-proxy's `network_programming_duration_seconds` (`pkg/proxy/metrics`), so that dashboards and objectives fit
/// both: every quarter of a second to half a second, every second to a minute, every 5 s to 2 minutes, every 30 s to 5 minutes.
fn programming_buckets() -> impl Iterator<Item = f64> {
    linear_buckets(0.25, 0.25, 2)
        .chain(linear_buckets(1.0, 1.0, 59))
        .chain(linear_buckets(60.0, 5.0, 12))
        .chain(linear_buckets(120.0, 30.0, 7))
}

/// From a tenth of a millisecond to half a minute, in steps of four.
fn work_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.0001, 4.0, 10)
}

impl Measures {
    /// A change is in force, so long after what caused it.
    pub fn programmed(&self, what: Programmed, after: Duration) {
        let histogram = match what {
            Programmed::Endpoints => &self.network,
            Programmed::Policy => &self.policy,
        };
        histogram.observe(after.as_secs_f64());
    }

    /// So long after its start the agent has come so far.
    pub fn reached(&self, stage: Stage, after: Duration) {
        self.startup.get_or_create(&vec![("until", stage.name())]).set(after.as_secs_f64());
    }

    /// A plan was made in so long.
    pub fn compiled(&self, took: Duration) {
        self.compile.observe(took.as_secs_f64());
    }

    /// A plan was carried out in so long.
    pub fn applied(&self, took: Duration) {
        self.apply.observe(took.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        add(
            "network_programming_duration",
            "From what caused a change of a Service's endpoints to its being in the maps",
            &self.network,
        );
        add(
            "policy_programming_duration",
            "From the writing of a NetworkPolicy to its being in the maps",
            &self.policy,
        );
        add("compile_duration", "Making a plan out of what has changed", &self.compile);
        add("apply_duration", "Writing the operations of a plan to the maps", &self.apply);
        registry.register_with_unit(
            "startup",
            "From the agent's start until the source had delivered everything, and until that was in force",
            Unit::Seconds,
            self.startup.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_kube_proxy() {
        let buckets: Vec<f64> = programming_buckets().collect();
        assert_eq!(buckets.len(), 80);
        assert_eq!(buckets[..4], [0.25, 0.5, 1.0, 2.0]);
        assert_eq!(buckets[60..63], [59.0, 60.0, 65.0][..][..3]);
        assert_eq!(buckets[73..], [120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0]);
        assert!(buckets.is_sorted());
    }
}
