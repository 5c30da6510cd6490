//! Namespaces that are being deleted, and which policies outlive them: a plain reading of
//! `docs/adr/0070-ending-namespaces.md` for objects without times of creation.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_agent::oracle::World;

use super::{
    event::Event,
    world::{is_on_host_network, is_running},
};

/// The namespaces that are ending: their objects say so, or did before they went, and pods are left.
#[derive(Debug, Default)]
pub(super) struct Ending(BTreeSet<String>);

impl Ending {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the API server would admit it: nothing is made in a namespace that ends.
    pub(super) fn admits(&self, event: &Event, world: &World) -> bool {
        match event {
            Event::Pod(pod) | Event::Successor(_, pod) => !self.contains(pod.metadata.namespace.as_deref()),
            Event::Policy(policy) => {
                !self.contains(policy.metadata.namespace.as_deref())
                    || world.policies.iter().any(|known| is_same(known, policy))
            }
            _ => true,
        }
    }

    /// Fills in which policies are kept, after a change.
    pub(super) fn follow(&mut self, before: &World, after: &mut World) {
        let mut now = BTreeSet::new();
        for namespace in &after.namespaces {
            if namespace.metadata.deletion_timestamp.is_some() {
                now.extend(namespace.metadata.name.clone());
            }
        }
        let is_there =
            |name: &String| after.namespaces.iter().any(|n| n.metadata.name.as_ref() == Some(name));
        let has_pods = |name: &String| {
            let mut left = after.pods.iter().filter(|pod| is_running(pod) && !is_on_host_network(pod));
            left.any(|pod| pod.metadata.namespace.as_ref() == Some(name))
        };
        now.extend(self.0.iter().filter(|name| !is_there(name) && has_pods(name)).cloned());
        let gone = before.policies.iter().filter(|old| !after.policies.iter().any(|new| is_same(old, new)));
        let gone = gone.filter(|policy| self.contains(policy.metadata.namespace.as_deref()));
        let kept: Vec<NetworkPolicy> = before.kept.iter().chain(gone).cloned().collect();
        self.0 = now;
        after.kept = kept;
        after.kept.retain(|policy| self.contains(policy.metadata.namespace.as_deref()));
    }

    fn contains(&self, namespace: Option<&str>) -> bool {
        namespace.is_some_and(|name| self.0.contains(name))
    }
}

fn is_same(a: &NetworkPolicy, b: &NetworkPolicy) -> bool {
    (&a.metadata.namespace, &a.metadata.name) == (&b.metadata.namespace, &b.metadata.name)
}
