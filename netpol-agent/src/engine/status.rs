use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netpol_common::{cluster::kind, direction::Direction};

use super::{
    Engine,
    view::{EndpointState, EndpointView, Name, PendingReason, PolicyView, Progress},
};
use crate::{
    dataplane::Interface,
    index::ExternalMode,
    model::{Mode, ObjectRef, Pod, Policy, Problem},
};

impl Engine {
    /// How clients from outside reach backends of other nodes, in words.
    #[must_use]
    pub fn external_mode(&self) -> String {
        if self.index.external_mode() == ExternalMode::Snat {
            return "snat".to_owned();
        }
        let rows = self.compiler.desired().cluster.rows();
        let own = rows.values().filter(|row| row.kind == kind::OWN).filter_map(|row| row.addr);
        let own: Vec<String> = own.map(|addr| addr.to_string()).collect();
        if own.is_empty() {
            return "snat: dsr needs an address of this node in its Node".to_owned();
        }
        let others = rows.values().filter(|row| row.kind == kind::NODE).count();
        format!("dsr, from {}, {others} addresses of other nodes", own.join(" and "))
    }

    /// The nodes that have an address, and the first one of each: an internal one if there is any.
    #[must_use]
    pub fn node_addresses(&self) -> BTreeMap<String, IpAddr> {
        let nodes = self.index.nodes();
        nodes.filter_map(|node| Some((node.name.clone(), *node.addresses.first()?))).collect()
    }

    /// The pods of this node, and the interfaces without a pod.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let local: Vec<&Pod> = self.index.local_pods().collect();
        let pods = local.iter().map(|pod| self.endpoint(pod));
        let matched: BTreeSet<u32> =
            local.iter().filter_map(|pod| self.index.interface_of(pod)).map(|i| i.ifindex).collect();
        let strangers = self.index.interfaces().filter(|i| !matched.contains(&i.ifindex));
        pods.chain(strangers.map(|interface| self.stranger(interface))).collect()
    }

    /// How far a pod has come that the CNI plugin calls by this name and UID.
    #[must_use]
    pub fn progress(&self, name: &Name, uid: &str) -> Progress {
        let Some(pod) = self.index.pod(name) else { return Progress::Unknown };
        if !pod.may_be(uid) {
            return Progress::Another(pod.uid.to_string());
        }
        if !self.index.is_local(pod) {
            return Progress::Elsewhere;
        }
        let EndpointView { state, pending, .. } = self.endpoint(pod);
        match (pending, self.index.interface_of(pod)) {
            (None, Some(interface)) => Progress::Policed { state, netns: interface.netns.clone() },
            (reason, _) => Progress::Pending(reason.unwrap_or(PendingReason::NoInterface)),
        }
    }

    fn why_pending(&self, pod: &Pod) -> PendingReason {
        let found = self.index.interfaces_of(pod);
        match (self.synced, found) {
            (false, _) => PendingReason::NotSynced,
            (true, 0) if pod.terminating => PendingReason::Ending,
            (true, 0) if pod.addresses.is_empty() => PendingReason::NoAddress,
            (true, 0) if self.index.is_displaced(pod) => PendingReason::Contested,
            (true, 0) => PendingReason::NoInterface,
            (true, _) if self.index.interface_of(pod).is_none() => PendingReason::Contested,
            (true, _) if self.refuses_endpoints => PendingReason::Refused,
            (true, _) => PendingReason::NotWritten,
        }
    }

    fn endpoint(&self, pod: &Pod) -> EndpointView {
        let interface = self.index.interface_of(pod);
        let isolating = |direction, mode| {
            self.compiler.isolating(pod, direction, &self.index, mode).cloned().collect::<Vec<Name>>()
        };
        let [policies_in, policies_out] =
            [Direction::Ingress, Direction::Egress].map(|direction| isolating(direction, Mode::Enforce));
        let [tried_in, tried_out] =
            [Direction::Ingress, Direction::Egress].map(|direction| isolating(direction, Mode::Audit));
        let state = interface.map_or(EndpointState::Pending, |i| self.state(i.ifindex));
        EndpointView {
            pod: Some(pod.name.clone()),
            addresses: pod.addresses.clone(),
            ifindex: interface.map(|i| i.ifindex),
            interface: interface.map(|i| i.name.clone()),
            state,
            pending: (state == EndpointState::Pending).then(|| self.why_pending(pod)),
            isolated_in: !policies_in.is_empty() || self.index.inherits_isolation(pod, Direction::Ingress),
            isolated_out: !policies_out.is_empty() || self.index.inherits_isolation(pod, Direction::Egress),
            policies_in,
            policies_out,
            tried_in,
            tried_out,
            connections: 0,
        }
    }

    fn stranger(&self, interface: &Interface) -> EndpointView {
        EndpointView {
            pod: None,
            addresses: interface.addresses.clone(),
            ifindex: Some(interface.ifindex),
            interface: Some(interface.name.clone()),
            state: EndpointState::Pending,
            pending: Some(if self.synced { PendingReason::NoPod } else { PendingReason::NotSynced }),
            isolated_in: false,
            isolated_out: false,
            policies_in: Vec::new(),
            policies_out: Vec::new(),
            tried_in: Vec::new(),
            tried_out: Vec::new(),
            connections: 0,
        }
    }

    fn state(&self, ifindex: u32) -> EndpointState {
        let wanted = self.compiler.desired().endpoints.rows().get(&ifindex);
        match self.planner.endpoint(ifindex) {
            None => EndpointState::Pending,
            actual if actual == wanted => EndpointState::Ready,
            Some(_) => EndpointState::Changing,
        }
    }

    /// Pods of this node that stay closed in a direction although nothing is known that isolates them: see
    /// [`Index::inherits_isolation`](crate::index::Index::inherits_isolation).
    #[must_use]
    pub fn closed_by_inheritance(&self) -> Vec<(Name, Direction)> {
        let both =
            self.index.local_pods().flat_map(|pod| [Direction::Ingress, Direction::Egress].map(|d| (pod, d)));
        let closed = both.filter(|(pod, direction)| self.index.inherits_isolation(pod, *direction));
        closed.map(|(pod, direction)| (pod.name.clone(), direction)).collect()
    }

    /// Whether a policy is in force although it was deleted, because its namespace is being deleted.
    #[must_use]
    pub fn is_kept(&self, policy: &Name) -> bool {
        self.index.is_kept(policy)
    }

    /// Whether a deleted policy is in force, or may be put in force again.
    #[must_use]
    pub fn remembers(&self, policy: &Name) -> bool {
        self.index.remembers(policy)
    }

    /// How many policies there are.
    #[must_use]
    pub fn policy_count(&self) -> usize {
        self.index.policies().count()
    }

    /// How many of them are held back, because they do not fit.
    #[must_use]
    pub fn refused_count(&self) -> usize {
        self.index.policies().filter(|policy| self.hold.of(&policy.name).is_some()).count()
    }

    /// The policies.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyView> {
        self.index.policies().map(|policy| self.policy(policy)).collect()
    }

    fn policy(&self, policy: &Policy) -> PolicyView {
        let rules = |direction| policy.rules(direction).map_or(0, <[_]>::len);
        PolicyView {
            policy: policy.name.clone(),
            origin: policy.origin.clone(),
            generation: policy.generation,
            ingress: policy.ingress.is_some(),
            egress: policy.egress.is_some(),
            rules_in: rules(Direction::Ingress),
            rules_out: rules(Direction::Egress),
            pods: self.index.selected(policy).count(),
            local_pods: self.index.selected(policy).filter(|pod| self.index.is_local(pod)).count(),
            kept: self.index.is_kept(&policy.name),
            mode: self.index.mode_of(policy),
            refused: self.hold.of(&policy.name).map(|shortage| shortage.to_string()),
            problems: self.index.problems_of(&policy.name.of_kind("NetworkPolicy")),
        }
    }

    /// `metadata.generation` of a policy; 0 of everything else.
    #[must_use]
    pub fn generation(&self, object: &ObjectRef) -> i64 {
        if object.kind != "NetworkPolicy" {
            return 0;
        }
        let policy = self.index.policy(&Name::new(&object.namespace, &object.name));
        policy.map_or(0, |policy| policy.generation)
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.index.nodes().map(|node| node.name.as_str())
    }

    /// Everything a user must know about the objects in the index: what conversion found, and what only shows when
    /// objects meet (a policy that selects nothing), as of the last plan. Put together at the call, in proportion to what is wrong and
    /// to the pods of this node.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.index.problems();
        problems.extend(self.contested());
        problems.sort();
        problems
    }
}
