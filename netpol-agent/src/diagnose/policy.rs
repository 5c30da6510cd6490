//! What a policy does, and which parts of it do nothing.

use k8s_openapi::{
    api::{
        core::v1::Pod,
        networking::v1::{NetworkPolicy, NetworkPolicyPort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use netpol_common::direction::Direction;

use super::{
    Finding, Severity,
    pod::{Rule, rules},
    select::{peers, pod_name, policy_name, subjects},
    words,
};
use crate::{
    model::{self, Level, Manifest, Name},
    oracle::{World, concerns, named_ports, protocol_number},
};

/// Everything that there is to say of a policy.
pub(super) fn why(world: &World, name: &Name) -> Option<Vec<Finding>> {
    let policy = world.policies.iter().find(|policy| policy_name(policy) == *name)?;
    let about = name.of_kind("NetworkPolicy");
    let mut found = fields(policy);
    found.extend(idle(world, policy));
    let pods = subjects(world, policy);
    if !pods.is_empty() {
        let names = words::names(pods.iter().map(|pod| pod_name(pod).to_string()));
        found.push(Finding::new(
            Severity::Note,
            &about,
            format!("isolates {}: {names}", words::pods(pods.len())),
            "",
        ));
    }
    let spec = policy.spec.clone().unwrap_or_default();
    for direction in [Direction::Ingress, Direction::Egress] {
        let (concerned, rules) = (concerns(&spec, direction), rules(policy, direction));
        let direction = direction.name();
        let reason = match (concerned, rules.is_empty()) {
            (false, true) => format!("says nothing of {direction}"),
            (false, false) => {
                format!("has rules for {direction} that count for nothing: policyTypes does not name it")
            }
            (true, true) => format!("allows no {direction}: it has no rule for it"),
            (true, false) => {
                format!("allows {direction}: {}", rules.iter().map(rule_words).collect::<Vec<_>>().join("; "))
            }
        };
        let severity = if !concerned && !rules.is_empty() { Severity::Warning } else { Severity::Note };
        found.push(Finding::new(severity, &about, reason, ""));
    }
    Some(found)
}

fn rule_words(rule: &Rule<'_>) -> String {
    let peers = words::any_of(rule.peers.iter().map(words::peer), "everybody");
    let ports = words::any_of(rule.ports.iter().map(words::port), "every port");
    format!("{peers}, {ports} ({})", rule.path)
}

/// What reading it finds.
fn fields(policy: &NetworkPolicy) -> Vec<Finding> {
    let converted = model::convert(&Manifest::NetworkPolicy(Box::new(policy.clone())), "");
    let about = policy_name(policy).of_kind("NetworkPolicy");
    let problems = converted.problems.into_iter();
    problems
        .map(|problem| {
            let severity = if problem.level == Level::Error { Severity::Error } else { Severity::Note };
            Finding::new(
                severity,
                &about,
                format!("{}: {}", problem.field, problem.message),
                "mend the field",
            )
        })
        .collect()
}

/// Parts that match nothing as things are.
pub(super) fn idle(world: &World, policy: &NetworkPolicy) -> Vec<Finding> {
    let name = policy_name(policy);
    let about = name.of_kind("NetworkPolicy");
    let pods = subjects(world, policy);
    let mut found = Vec::new();
    if pods.is_empty() {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.clone()).unwrap_or_default();
        let selector = words::selector(&selector);
        let whom = if selector.is_empty() {
            "its namespace has no pods".to_owned()
        } else {
            format!("no pod of its namespace has {selector}")
        };
        let advice = "make spec.podSelector and the labels of the pods agree: until then it protects nobody";
        found.push(Finding::new(Severity::Warning, &about, format!("selects nothing: {whom}"), advice));
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        for Rule { path, peers: listed, ports } in rules(policy, direction) {
            let field = if direction == Direction::Ingress { "from" } else { "to" };
            let mut meant: Vec<&Pod> = Vec::new();
            for (i, peer) in listed.iter().enumerate() {
                let Some(matched) = peers(world, &name.namespace, peer) else { continue };
                if matched.is_empty() {
                    let reason = format!(
                        "{path}.{field}[{i}] matches nobody: there is none among {}",
                        words::peer(peer)
                    );
                    let advice = "compare its selectors with kubectl get pods,namespaces --show-labels";
                    found.push(Finding::new(Severity::Warning, &about, reason, advice));
                }
                meant.extend(matched);
            }
            // Named ports are those of whoever receives.
            let receivers = if direction == Direction::Ingress { &pods } else { &meant };
            for (i, port) in ports.iter().enumerate() {
                if let Some(lacking) = nowhere(port, receivers) {
                    let reason = format!(
                        "{path}.ports[{i}] allows nothing: none of the {} that it is for has a {}",
                        words::pods(lacking),
                        words::port(port)
                    );
                    let advice = "name the container's port so, or give its number";
                    found.push(Finding::new(Severity::Warning, &about, reason, advice));
                }
            }
        }
    }
    found
}

/// Of how many pods none has the named port; `None` if one does, or it has a number.
fn nowhere(port: &NetworkPolicyPort, pods: &[&Pod]) -> Option<usize> {
    let Some(IntOrString::String(name)) = &port.port else { return None };
    let protocol = protocol_number(port.protocol.as_deref().unwrap_or("TCP"))?;
    let none = pods.iter().all(|pod| named_ports(Some(pod), name, protocol).is_empty());
    (none && !pods.is_empty()).then_some(pods.len())
}
