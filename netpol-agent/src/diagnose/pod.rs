//! Who may reach a pod, and whom it may reach.

use k8s_openapi::api::{
    core::v1::Pod,
    networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
};
use netpol_common::direction::Direction;

use super::{
    Finding, Severity,
    select::{peers, pod_name, policy_name, subjects},
    words,
};
use crate::{
    model::Name,
    oracle::{World, addresses_of, concerns, has_own_network, is_live},
};

/// A rule of either direction, as it stands in the object.
pub(super) struct Rule<'a> {
    pub(super) path: String,
    pub(super) peers: &'a [NetworkPolicyPeer],
    pub(super) ports: &'a [NetworkPolicyPort],
}

pub(super) fn rules(policy: &NetworkPolicy, direction: Direction) -> Vec<Rule<'_>> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    let path = |i: usize| format!("spec.{}[{i}]", direction.name());
    match direction {
        Direction::Ingress => {
            let all = spec.ingress.iter().flatten().enumerate();
            all.map(|(i, rule)| Rule {
                path: path(i),
                peers: rule.from.as_deref().unwrap_or_default(),
                ports: rule.ports.as_deref().unwrap_or_default(),
            })
            .collect()
        }
        Direction::Egress => {
            let all = spec.egress.iter().flatten().enumerate();
            all.map(|(i, rule)| Rule {
                path: path(i),
                peers: rule.to.as_deref().unwrap_or_default(),
                ports: rule.ports.as_deref().unwrap_or_default(),
            })
            .collect()
        }
    }
}

impl Rule<'_> {
    /// Whether it can match anybody as things are.
    pub(super) fn is_idle(&self, world: &World, home: &str) -> bool {
        let idle = |peer: &NetworkPolicyPeer| peers(world, home, peer).is_some_and(|pods| pods.is_empty());
        !self.peers.is_empty() && self.peers.iter().all(idle)
    }
}

/// Everything that there is to say of a pod.
pub(super) fn why(world: &World, name: &Name) -> Option<Vec<Finding>> {
    let pod = world.pods.iter().find(|pod| pod_name(pod) == *name)?;
    let about = name.of_kind("Pod");
    let note = |reason: &str| Some(vec![Finding::new(Severity::Note, &about, reason, "")]);
    if !is_live(pod) {
        return note("has ended");
    }
    if !has_own_network(pod) {
        return note(
            "uses its node's network (hostNetwork): no policy selects it, and to policies it is its node",
        );
    }
    let mut found = Vec::new();
    if addresses_of(pod).is_empty() {
        let advice = "kubectl describe pod says what it waits for";
        found.push(Finding::new(Severity::Error, &about, "has no address yet, and is closed", advice));
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let isolated = isolation(world, pod, direction);
        if isolated.is_empty() {
            let reason = match direction {
                Direction::Ingress => "anybody may reach it: no policy isolates it for ingress",
                Direction::Egress => "it may reach anybody: no policy isolates it for egress",
            };
            found.push(Finding::new(Severity::Note, &about, reason, ""));
        }
        found.extend(isolated);
    }
    Some(found)
}

/// What policies let in, if any isolates the pod.
pub(super) fn who_may_reach(world: &World, pod: &Pod) -> Vec<Finding> {
    if has_own_network(pod) { isolation(world, pod, Direction::Ingress) } else { Vec::new() }
}

fn isolation(world: &World, pod: &Pod, direction: Direction) -> Vec<Finding> {
    let about = pod_name(pod).of_kind("Pod");
    let is_subject = |policy: &&NetworkPolicy| {
        policy_name(policy).namespace == pod_name(pod).namespace
            && policy.spec.as_ref().is_some_and(|spec| concerns(spec, direction))
            && subjects(world, policy).iter().any(|subject| pod_name(subject) == pod_name(pod))
    };
    let policies: Vec<&NetworkPolicy> = world.policies.iter().filter(is_subject).collect();
    if policies.is_empty() {
        return Vec::new();
    }
    let names = words::names(policies.iter().map(|policy| policy_name(policy).to_string()));
    let (who, whom) = match direction {
        Direction::Ingress => ("nobody may reach it", "only these may reach it"),
        Direction::Egress => ("it may reach nobody", "it may reach only these"),
    };
    let all: Vec<(Name, Rule<'_>)> = policies
        .iter()
        .flat_map(|policy| rules(policy, direction).into_iter().map(|rule| (policy_name(policy), rule)))
        .collect();
    if all.iter().all(|(policy, rule)| rule.is_idle(world, &policy.namespace)) {
        let why = if all.is_empty() { "none of which has a rule" } else { "whose rules match no pod" };
        let reason = format!("{who}: isolated for {} by {names}, {why}", direction.name());
        let advice = "netpolctl why networkpolicy/… for each of them; add a rule for whom it is meant";
        return vec![Finding::new(Severity::Error, about, reason, advice)];
    }
    let rules = all.iter().map(|(policy, rule)| {
        let peers = words::any_of(rule.peers.iter().map(words::peer), "everybody");
        let ports = words::any_of(rule.ports.iter().map(words::port), "every port");
        format!("{peers}, {ports} ({policy} {})", rule.path)
    });
    let reason = format!(
        "{whom}, isolated for {} by {names}: {}",
        direction.name(),
        rules.collect::<Vec<_>>().join("; ")
    );
    let advice = "netpolctl explain FROM TO says of one connection what it would meet";
    vec![Finding::new(Severity::Note, about, reason, advice)]
}
