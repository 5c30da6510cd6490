use super::Index;
use crate::model::{Level, Object, ObjectRef, Pod, Policy, Problem};

impl Index {
    /// Everything a user must know about the objects: what their conversion found, and what shows only when they meet.
    /// Looks at every policy and every local pod.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all: Vec<Problem> = self.problems.values().flatten().cloned().collect();
        all.extend(self.policies.values().filter_map(|policy| self.selects_nothing(policy)));
        all.extend(self.pods.values().filter_map(|pod| self.without_interface(pod)));
        all.sort();
        all
    }

    /// How many problems the conversion of an object found.
    #[must_use]
    pub fn problems_of(&self, object: &ObjectRef) -> usize {
        self.problems.get(object).map_or(0, Vec::len)
    }

    /// The pods that a policy selects.
    pub fn selected<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Pod> {
        self.pods_in(&policy.name.namespace).filter(|p| p.policed() && policy.subject.matches(&p.labels))
    }

    fn selects_nothing(&self, policy: &Policy) -> Option<Problem> {
        self.selected(policy).next().is_none().then(|| Problem {
            level: Level::Note,
            origin: policy.origin.clone(),
            object: Some(Object::Policy(policy.clone()).reference()),
            field: "spec.podSelector".to_owned(),
            message: "selects no pod of its namespace".to_owned(),
        })
    }

    fn without_interface(&self, pod: &Pod) -> Option<Problem> {
        if !self.is_local(pod) || self.interface_of(pod).is_some() {
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
            object: Some(Object::Pod(pod.clone()).reference()),
            field: "status.podIPs".to_owned(),
            message,
        })
    }
}
