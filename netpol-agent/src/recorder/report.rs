use crate::{
    engine::Refusal,
    model::{Level, ObjectRef, Problem},
    source::KUBERNETES,
};

/// Who finds the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Every agent of the cluster: it stands in the object.
    Cluster,
    /// This node's agent, and perhaps others.
    Node,
}

/// Something that is wrong with an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Report {
    /// The object.
    pub object: ObjectRef,
    /// `metadata.generation` of the revision that it is wrong with; 0 if its kind has none.
    pub generation: i64,
    /// Path of the field, empty for the object as a whole.
    pub field: String,
    /// One word for machines, as `reason` of the event.
    pub reason: &'static str,
    /// What is wrong, and what netpol does about it.
    pub message: String,
    /// Who finds the same.
    pub scope: Scope,
}

impl Report {
    /// Of a problem, if it is about an object and means that something is not in force as written.
    #[must_use]
    pub fn of_problem(problem: &Problem, generation: i64) -> Option<Self> {
        let object = problem.object.clone().filter(|_| problem.level == Level::Error)?;
        let read = problem.origin == KUBERNETES;
        let reason = match (read, object.kind.as_str()) {
            (true, _) => "Invalid",
            (false, "Pod") => "NotPoliced",
            (false, _) => "NotInForce",
        };
        Some(Self {
            object,
            generation,
            field: problem.field.clone(),
            reason,
            message: problem.message.clone(),
            scope: if read { Scope::Cluster } else { Scope::Node },
        })
    }

    /// Of a part of what is wanted that finds no room, if it is an object's.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal, generation: impl Fn(&ObjectRef) -> i64) -> Option<Self> {
        let object = match refusal {
            Refusal::Policy { policy, .. } => policy.of_kind("NetworkPolicy"),
            Refusal::Service { port, .. } => port.service.of_kind("Service"),
            _ => return None,
        };
        Some(Self {
            generation: generation(&object),
            object,
            field: String::new(),
            reason: "NoRoom",
            // Counts of rows differ from node to node, and from moment to moment.
            message: match refusal.shortage() {
                Some(shortage) => format!(
                    "does not fit into {} of a node: netpolctl status there says more; what was in force before stays",
                    shortage.map
                ),
                None => refusal.to_string(),
            },
            scope: Scope::Node,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Name, plan::Shortage};

    #[test]
    fn errors_of_objects_are_reported_and_notes_are_not() {
        let object = Some(Name::new("shop", "db").of_kind("NetworkPolicy"));
        let problem = Problem {
            level: Level::Error,
            origin: KUBERNETES.into(),
            object,
            field: "spec.ingress[0]".into(),
            message: "no".into(),
        };
        let report = Report::of_problem(&problem, 3).unwrap();
        assert_eq!((report.reason, report.scope, report.generation), ("Invalid", Scope::Cluster, 3));
        assert_eq!(Report::of_problem(&Problem { level: Level::Note, ..problem.clone() }, 3), None);
        assert_eq!(Report::of_problem(&Problem { object: None, ..problem.clone() }, 3), None);
        let pod = Some(Name::new("shop", "db-0").of_kind("Pod"));
        let pending = Problem { origin: String::new(), object: pod, ..problem };
        let report = Report::of_problem(&pending, 0).unwrap();
        assert_eq!((report.reason, report.scope), ("NotPoliced", Scope::Node));
    }

    #[test]
    fn a_refusal_says_the_same_however_many_rows_are_missing() {
        let refusal = |need| Refusal::Policy {
            policy: Name::new("shop", "db"),
            shortage: Shortage { map: "np_policy", need, capacity: 5 },
        };
        let report = Report::of_refusal(&refusal(6), |_| 7).unwrap();
        assert_eq!(Report::of_refusal(&refusal(8), |_| 7).as_ref(), Some(&report));
        assert_eq!((report.generation, report.object.name.as_str()), (7, "db"));
        assert!(report.message.contains("np_policy"), "{}", report.message);
    }
}
