use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use crate::model::Name;

/// Policies that select no pod, known without a look at all of them.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Policies that select none.
    idle: BTreeSet<Name>,
    /// One pod that each of the others selects: as long as it is selected nothing else need be asked.
    example: BTreeMap<Name, Name>,
}

impl Index {
    /// The policies that select no pod of their namespace, as of the last [`Index::take_dirty`].
    pub(super) fn idle(&self) -> impl Iterator<Item = &Name> {
        self.idle.idle.iter()
    }

    /// Brings it up to date with what has changed: looks at the policies of the namespaces of the pods concerned, and at all pods of a
    /// namespace only for a policy that is new or has lost its example.
    pub(super) fn settle_idle(&mut self) {
        let mut idle = std::mem::take(&mut self.idle);
        let mut lost: BTreeSet<&Name> = self.dirty.policies.iter().collect();
        for name in &self.dirty.pods {
            let pod = self.pods.get(name).filter(|pod| pod.policed());
            for policy in self.policies_in(&name.namespace) {
                let selects = pod.is_some_and(|pod| self.selects(policy, pod));
                if selects && idle.idle.remove(&policy.name) {
                    idle.example.insert(policy.name.clone(), name.clone());
                } else if !selects && idle.example.get(&policy.name) == Some(name) {
                    lost.insert(&policy.name);
                }
            }
        }
        for name in lost {
            idle.idle.remove(name);
            idle.example.remove(name);
            let Some(policy) = self.policies.get(name) else { continue };
            match self.selected(policy).next() {
                Some(pod) => drop(idle.example.insert(name.clone(), pod.name.clone())),
                None => drop(idle.idle.insert(name.clone())),
            }
        }
        self.idle = idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ObjectRef, convert},
        source::manifests,
    };

    fn apply(index: &mut Index, yaml: &str) {
        let converted = manifests(yaml).into_iter().map(|manifest| convert(&manifest, "test.yaml"));
        converted.filter_map(|converted| converted.object).for_each(|object| index.apply(object));
    }

    fn pod(n: usize, label: usize, phase: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: p{n}, labels: {{app: a{label}}}}}, spec: {{containers: \
             [{{name: c}}]}}, status: {{phase: {phase}}}}}"
        )
    }

    fn policy(n: usize, label: usize) -> String {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: shop, name: n{n}}}, spec: {{podSelector: \
             {{matchLabels: {{app: a{label}}}}}}}}}"
        )
    }

    fn of(kind: &str, name: String) -> ObjectRef {
        ObjectRef { kind: kind.to_owned(), namespace: "shop".to_owned(), name }
    }

    #[test]
    fn whatever_changes_the_policies_that_select_nothing_are_known() {
        let mut index = Index::new("node1");
        let mut random = fastrand::Rng::with_seed(14);
        let mut seen = BTreeSet::new();
        for _ in 0..3000 {
            let (n, label) = (random.usize(..6), random.usize(..4));
            match random.usize(..5) {
                0 | 1 => apply(&mut index, &pod(n, label, random.choice(["Running", "Failed"]).unwrap())),
                2 => index.delete(&of("Pod", format!("p{n}"))),
                3 => apply(&mut index, &policy(n, label)),
                _ => index.delete(&of("NetworkPolicy", format!("n{n}"))),
            }
            // Several changes at once, now and then.
            if random.bool() {
                index.take_dirty();
                let naive = index.policies().filter(|policy| index.selected(policy).next().is_none());
                let naive: Vec<&Name> = naive.map(|policy| &policy.name).collect();
                assert_eq!(index.idle().collect::<Vec<_>>(), naive);
                seen.insert(naive.len());
            }
        }
        assert!(seen.len() > 3, "{seen:?}");
    }
}
