use netpol_common::direction::Direction;

use super::Index;
use crate::model::{Level, ObjectRef, Pod, Policy, Problem};

impl Index {
    /// Everything a user must know about the objects: what their conversion found, and what shows only when they meet, as of the
    /// last [`Index::take_dirty`]. Looks at what is wrong and at the pods of this node, not at all objects.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all: Vec<Problem> = self.problems.values().flatten().cloned().collect();
        let policies = |name| self.policy(name);
        all.extend(self.idle().filter(|name| !self.is_kept(name)).filter_map(policies).map(selects_nothing));
        all.extend(self.kept().filter_map(policies).map(kept));
        all.extend(self.local_pods().filter_map(|pod| self.without_interface(pod)));
        all.extend(self.local_pods().filter_map(|pod| self.closed_by_inheritance(pod)));
        all.sort();
        all
    }

    /// How many problems the conversion of an object found.
    #[must_use]
    pub fn problems_of(&self, object: &ObjectRef) -> usize {
        self.problems.get(object).map_or(0, Vec::len)
    }

    /// Whether the conversion of an object found an error in a field, or below it.
    #[must_use]
    pub fn has_error_below(&self, object: &ObjectRef, field: &str) -> bool {
        let problems = self.problems.get(object).into_iter().flatten();
        problems.filter(|problem| problem.level == Level::Error).any(|p| p.field.starts_with(field))
    }

    /// The pods that a policy selects.
    pub fn selected<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Pod> {
        self.pods_in(&policy.name.namespace).filter(|p| p.policed() && self.selects(policy, p))
    }

    fn closed_by_inheritance(&self, pod: &Pod) -> Option<Problem> {
        let closed = [Direction::Ingress, Direction::Egress].into_iter().filter(|direction| {
            let mut policies = self.policies_in(&pod.name.namespace);
            self.inherits_isolation(pod, *direction)
                && !policies.any(|p| p.rules(*direction).is_some() && self.selects(p, pod))
        });
        let closed: Vec<&str> = closed.map(Direction::name).collect();
        (!closed.is_empty()).then(|| Problem {
            level: Level::Note,
            origin: String::new(),
            object: Some(pod.name.of_kind("Pod")),
            field: String::new(),
            message: format!(
                "its namespace is being deleted, and the policies that isolated it went before this agent \
                 started; it stays closed for {}",
                closed.join(" and ")
            ),
        })
    }

    fn without_interface(&self, pod: &Pod) -> Option<Problem> {
        if self.interface_of(pod).is_some() {
            return None;
        }
        let displaced =
            pod.addresses.iter().find(|addr| self.displaced(**addr).any(|name| *name == pod.name));
        let message = if let Some(addr) = displaced {
            format!("{addr} has passed to another pod; the pod stays closed")
        } else if self.candidates(pod).len() > 1 {
            "several interfaces have its addresses; the pod stays closed".to_owned()
        } else if self.candidates(pod).len() == 1 {
            "its interface has addresses of other pods too; the pod stays closed".to_owned()
        } else {
            return None;
        };
        Some(Problem {
            level: Level::Error,
            origin: String::new(),
            object: Some(pod.name.of_kind("Pod")),
            field: "status.podIPs".to_owned(),
            message,
        })
    }
}

fn selects_nothing(policy: &Policy) -> Problem {
    Problem {
        level: Level::Note,
        origin: policy.origin.clone(),
        object: Some(policy.name.of_kind("NetworkPolicy")),
        field: "spec.podSelector".to_owned(),
        message: "selects no pod of its namespace".to_owned(),
    }
}

fn kept(policy: &Policy) -> Problem {
    Problem {
        level: Level::Note,
        origin: policy.origin.clone(),
        object: Some(policy.name.of_kind("NetworkPolicy")),
        field: String::new(),
        message: "deleted with its namespace; it stays in force until the namespace's pods are gone"
            .to_owned(),
    }
}
