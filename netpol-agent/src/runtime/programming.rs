//! How long changes take from their cause to the maps: the network programming latency of Kubernetes, and the same for
//! policies.

use std::time::Duration;

use k8s_openapi::{
    api::{discovery::v1::EndpointSlice, networking::v1::NetworkPolicy},
    jiff::Timestamp,
};

use crate::{
    ctl::Programmed,
    engine::Refusal,
    model::{Manifest, Name, ObjectRef},
};

/// Where the endpoints' controller says when the cause of the last change was (`discovery/v1`).
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Whose endpoints a slice lists.
const SERVICE: &str = "kubernetes.io/service-name";

/// Changes that have been delivered and are not in force yet.
#[derive(Debug)]
pub(super) struct Programming {
    /// Changes from before are left out: an agent that starts is told of all there is, and nobody waited for it.
    since: Timestamp,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    object: ObjectRef,
    /// Whose endpoints, if it is about endpoints.
    service: Option<Name>,
    caused: Timestamp,
}

impl Programming {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, waiting: Vec::new() }
    }

    /// An object has come that differs from what was known under its name.
    pub(super) fn changed(&mut self, object: &ObjectRef, manifest: &Manifest) {
        let (caused, service) = match manifest {
            // One that is no Service's is in no map.
            Manifest::EndpointSlice(slice) => match service(slice) {
                Some(service) => (trigger(slice), Some(service)),
                None => return,
            },
            Manifest::NetworkPolicy(policy) => (written(policy), None),
            _ => return,
        };
        if let Some(caused) = caused.filter(|caused| *caused > self.since) {
            self.waiting.push(Waiting { object: object.clone(), service, caused });
        }
    }

    /// An object has gone. What its last revision says of a cause is not why.
    pub(super) fn gone(&mut self, object: &ObjectRef) {
        self.waiting.retain(|waiting| waiting.object != *object);
    }

    /// All that has come is in force, at the time `now`, but for what is refused. That counts when it comes again. Says how long
    /// each change took.
    pub(super) fn in_force(&mut self, refusals: &[Refusal], now: Timestamp) -> Vec<(Programmed, Duration)> {
        let refused = |Waiting { object, service, .. }: &Waiting| {
            refusals.iter().any(|refusal| match (refusal, service) {
                (Refusal::Policy { policy, .. }, None) => policy.of_kind("NetworkPolicy") == *object,
                (Refusal::Service { port, .. }, Some(service)) => port.service == *service,
                (Refusal::Capacity { .. } | Refusal::Collision(_), None) => true,
                _ => false,
            })
        };
        let in_force = self.waiting.drain(..).filter(|waiting| !refused(waiting)).map(|waiting| {
            let what = if waiting.service.is_some() { Programmed::Endpoints } else { Programmed::Policy };
            // Clocks of other machines may be ahead.
            (what, Duration::try_from(now.duration_since(waiting.caused)).unwrap_or_default())
        });
        in_force.collect()
    }
}

fn trigger(slice: &EndpointSlice) -> Option<Timestamp> {
    slice.metadata.annotations.as_ref()?.get(TRIGGER)?.parse().ok()
}

fn service(slice: &EndpointSlice) -> Option<Name> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE)?;
    Some(Name::new(slice.metadata.namespace.as_deref().unwrap_or("default"), name))
}

/// When the API server last took the policy from somebody, in whole seconds.
fn written(policy: &NetworkPolicy) -> Option<Timestamp> {
    let meta = &policy.metadata;
    let managed = meta.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
    managed.chain(&meta.creation_timestamp).map(|time| time.0).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model, plan::Shortage, source::manifests};

    const OBJECTS: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: '2026-03-01T12:00:05.5Z'}
addressType: IPv4
endpoints: []
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  namespace: shop
  creationTimestamp: '2026-01-01T00:00:00Z'
  managedFields: [{time: '2026-03-01T12:00:04Z'}, {time: '2026-02-01T12:00:04Z'}, {manager: x}]
spec: {podSelector: {}}
";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn told(since: &str) -> Programming {
        let mut programming = Programming::new(time(since));
        for manifest in manifests(OBJECTS) {
            programming.changed(&model::reference(&manifest), &manifest);
        }
        programming
    }

    fn in_force(programming: &mut Programming, refusals: &[Refusal], now: &str) -> Vec<(Programmed, f64)> {
        let all = programming.in_force(refusals, time(now)).into_iter();
        all.map(|(what, after)| (what, after.as_secs_f64())).collect()
    }

    #[test]
    fn a_change_counts_from_its_cause_to_its_being_in_force_and_once() {
        let mut programming = told("2026-03-01T12:00:00Z");
        let seen = in_force(&mut programming, &[], "2026-03-01T12:00:06Z");
        assert_eq!(seen, [(Programmed::Endpoints, 0.5), (Programmed::Policy, 2.0)]);
        assert_eq!(in_force(&mut programming, &[], "2026-03-01T12:00:09Z"), []);
    }

    #[test]
    fn what_was_there_before_the_agent_does_not_count() {
        let mut programming = told("2026-03-01T12:00:05Z");
        let seen = in_force(&mut programming, &[], "2026-03-01T12:00:06Z");
        assert_eq!(seen, [(Programmed::Endpoints, 0.5)]);
    }

    #[test]
    fn neither_what_has_gone_nor_what_is_refused_counts_and_clocks_ahead_are_no_time() {
        let mut programming = told("2026-03-01T12:00:00Z");
        let shortage = Shortage { map: "np_policy", need: 2, capacity: 1 };
        let refusal = Refusal::Policy { policy: Name::new("shop", "p"), shortage };
        programming.gone(&Name::new("shop", "web-1").of_kind("EndpointSlice"));
        assert_eq!(in_force(&mut programming, &[refusal], "2026-03-01T12:00:06Z"), []);
        let mut programming = told("2026-03-01T12:00:00Z");
        let seen = in_force(&mut programming, &[], "2026-03-01T12:00:05Z");
        assert_eq!(seen, [(Programmed::Endpoints, 0.0), (Programmed::Policy, 1.0)]);
    }
}
