//! Pods that wait too long for their policy.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    engine::view::{EndpointView, PendingReason},
    model::{Level, Name, Problem},
};

/// Since when each pod, and each interface without one, is pending.
#[derive(Debug)]
pub(super) struct Pending {
    deadline: Duration,
    since: BTreeMap<Who, Instant>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Pod(Name),
    Interface(u32),
}

/// What has been pending for longer than the deadline.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Overdue {
    /// One for each, sorted.
    pub(super) problems: Vec<Problem>,
    /// When the next one will be.
    pub(super) next: Option<Instant>,
}

impl Pending {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, since: BTreeMap::new() }
    }

    /// Who is overdue, given the pods as they are at the time `now`.
    pub(super) fn look(&mut self, endpoints: &[EndpointView], now: Instant) -> Overdue {
        let mut since = BTreeMap::new();
        let mut overdue = Overdue::default();
        for endpoint in endpoints {
            let Some(reason) = endpoint.pending.filter(|reason| *reason != PendingReason::Ending) else {
                continue;
            };
            let who = match (&endpoint.pod, endpoint.ifindex) {
                (Some(pod), _) => Who::Pod(pod.clone()),
                (None, Some(ifindex)) => Who::Interface(ifindex),
                (None, None) => continue,
            };
            let began = self.since.get(&who).copied().unwrap_or(now);
            since.insert(who, began);
            let due = began + self.deadline;
            if due <= now {
                overdue.problems.push(self.problem(endpoint, reason));
            } else {
                overdue.next = overdue.next.into_iter().chain([due]).min();
            }
        }
        self.since = since;
        overdue.problems.sort();
        overdue
    }

    fn problem(&self, endpoint: &EndpointView, reason: PendingReason) -> Problem {
        let pod = endpoint.pod.as_ref().map(|pod| pod.of_kind("Pod"));
        let interface = match (&pod, &endpoint.interface) {
            (None, Some(name)) => format!("interface {name} "),
            _ => String::new(),
        };
        Problem {
            level: Level::Error,
            origin: String::new(),
            object: pod,
            field: String::new(),
            message: format!(
                "{interface}has been {} for more than {:?}: {}",
                if reason == PendingReason::NoVeth { "open" } else { "pending, and closed," },
                self.deadline,
                reason.message()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::view::EndpointState;

    fn endpoint(pod: Option<&str>, ifindex: Option<u32>, pending: Option<PendingReason>) -> EndpointView {
        EndpointView {
            pod: pod.map(|name| Name::new("shop", name)),
            addresses: Vec::new(),
            ifindex,
            interface: ifindex.map(|n| format!("veth{n}")),
            state: if pending.is_some() { EndpointState::Pending } else { EndpointState::Ready },
            pending,
            isolated_in: false,
            isolated_out: false,
            policies_in: Vec::new(),
            policies_out: Vec::new(),
            tried_in: Vec::new(),
            tried_out: Vec::new(),
            connections: 0,
        }
    }

    #[test]
    fn a_pod_is_overdue_once_it_was_pending_for_the_whole_deadline() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut pending = Pending::new(10 * second);
        let waits = [
            endpoint(Some("db"), None, Some(PendingReason::NoInterface)),
            endpoint(None, Some(7), Some(PendingReason::NoPod)),
            endpoint(Some("old"), None, Some(PendingReason::Ending)),
        ];
        let look = pending.look(&waits, start);
        assert_eq!((look.problems.len(), look.next), (0, Some(start + 10 * second)));
        assert!(pending.look(&waits, start + 9 * second).problems.is_empty());
        let lines: Vec<String> =
            pending.look(&waits, start + 10 * second).problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "interface veth7 has been pending, and closed, for more than 10s: no pod of this node has its addresses",
                "Pod shop/db: has been pending, and closed, for more than 10s: no interface with its addresses was found",
            ]
        );
        // It counts from anew once it was not pending.
        pending.look(&[endpoint(Some("db"), Some(8), None)], start + 11 * second);
        assert!(pending.look(&waits, start + 12 * second).problems.is_empty());
    }
}
