//! In which order changes reach the agents. Whatever it is, what they end with must be the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use clap::ValueEnum;
use netpol_agent::model::ObjectRef;
use serde_json::{Value, json};

use crate::bed::{Bed, object_ref};

/// The order of the changes of a step, and of the first objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Order {
    /// As the file has them: what is applied, then what is deleted.
    #[default]
    Given,
    /// From the last to the first.
    Reversed,
    /// In any order, which depends on the seed.
    Shuffled,
    /// Everything that is applied is written three times, with the rest in between.
    Repeated,
    /// Objects that nothing depends on come, change and go between any two changes.
    Spurious,
}

#[derive(Clone, Debug)]
enum Change {
    Apply(Value),
    Delete(ObjectRef),
}

/// Brings changes to a bed.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    order: Order,
    seed: u64,
    /// Of changes that were asked for, so that no two steps are shuffled alike.
    calls: u64,
}

impl Delivery {
    pub(super) const fn new(order: Order, seed: u64) -> Self {
        Self { order, seed, calls: 0 }
    }

    /// Applies and deletes everything.
    ///
    /// # Errors
    /// Names the object that the bed refused.
    pub(super) fn deliver(&mut self, bed: &mut Bed, apply: &[Value], delete: &[ObjectRef]) -> Result<()> {
        self.calls += 1;
        let mut changes: Vec<_> = apply.iter().cloned().map(Change::Apply).collect();
        let applied = changes.clone();
        changes.extend(delete.iter().cloned().map(Change::Delete));
        match self.order {
            Order::Given => {}
            Order::Reversed => changes.reverse(),
            Order::Shuffled => shuffle(&mut changes, (self.seed, self.calls)),
            // Before what is deleted: a deletion that comes late is another history, not another order.
            Order::Repeated => {
                perform(bed, &applied)?;
                perform(bed, &applied)?;
            }
            Order::Spurious => return self.among_others(bed, changes),
        }
        perform(bed, &changes)
    }

    fn among_others(&self, bed: &mut Bed, changes: Vec<Change>) -> Result<()> {
        if self.calls == 1 {
            perform(bed, &changes)?;
            return bed.apply(&bystander(bed));
        }
        let others = others();
        for change in changes {
            bed.apply(&others)?;
            perform(bed, &[change])?;
            for other in &others {
                bed.delete(&[object_ref(other)?])?;
            }
        }
        Ok(())
    }
}

/// Applies together what follows on each other: the bed wires several pods at a time.
fn perform(bed: &mut Bed, changes: &[Change]) -> Result<()> {
    let both_apply = |a: &Change, b: &Change| matches!((a, b), (Change::Apply(_), Change::Apply(_)));
    for run in changes.chunk_by(both_apply) {
        let mut objects = Vec::new();
        for change in run {
            match change {
                Change::Apply(object) => objects.push(object.clone()),
                Change::Delete(object) => bed.delete(std::slice::from_ref(object))?,
            }
        }
        bed.apply(&objects)?;
    }
    Ok(())
}

fn shuffle(changes: &mut Vec<Change>, seed: (u64, u64)) {
    let mut numbered: Vec<_> = changes.drain(..).enumerate().collect();
    numbered.sort_by_cached_key(|(number, _)| {
        let mut hasher = DefaultHasher::new();
        (seed, number).hash(&mut hasher);
        hasher.finish()
    });
    changes.extend(numbered.into_iter().map(|(_, change)| change));
}

const NAMESPACE: &str = "bystanders";

/// A pod that gives the others something to be about on the first node.
fn bystander(bed: &Bed) -> Vec<Value> {
    let node = bed.nodes().first().map(|node| node.name.clone());
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "bystander", "namespace": NAMESPACE, "labels": {"role": "bystander"}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]},
        }),
    ]
}

/// They give the addresses of others new classes, and take them away again.
fn others() -> Vec<Value> {
    let policy = |name: &str, spec: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        })
    };
    vec![
        policy(
            "everyone",
            json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}]}),
        ),
        policy(
            "blocks",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.1.0/24"]}},
                {"ipBlock": {"cidr": "fd00::/8", "except": ["fd00:10:244:1::/64"]}},
            ], "ports": [{"port": 1, "endPort": 1000}]}]}),
        ),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "bystanders", "namespace": NAMESPACE},
            "spec": {"selector": {"role": "bystander"}, "clusterIP": "10.96.77.77", "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ghost", "namespace": NAMESPACE},
            "spec": {"nodeName": "node1", "containers": []}, "status": {"phase": "Failed", "podIPs": [{"ip": "10.244.1.250"}]},
        }),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "unknown", "namespace": NAMESPACE}}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| match change {
                Change::Apply(object) => object["n"].to_string(),
                Change::Delete(object) => object.name.clone(),
            })
            .collect()
    }

    #[test]
    fn a_seed_is_an_order() {
        let changes: Vec<_> = (0..20).map(|n| Change::Apply(json!({"n": n}))).collect();
        let shuffled = |seed| {
            let mut changes = changes.clone();
            shuffle(&mut changes, seed);
            names(&changes)
        };
        assert_eq!(shuffled((1, 1)), shuffled((1, 1)));
        assert_ne!(shuffled((1, 1)), shuffled((1, 2)));
        let mut sorted = shuffled((2, 1));
        sorted.sort_by_key(|n| n.parse::<u32>().unwrap());
        assert_eq!(sorted, names(&changes));
    }
}
