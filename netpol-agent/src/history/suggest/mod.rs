//! Policies that allow what was seen.

mod groups;
mod manifest;
mod names;
mod rules;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_common::direction::Direction;
use serde::{Deserialize, Serialize};

use super::{judge::Judge, observation::Observation};
use crate::oracle::World;
use groups::{Group, Groups};
use names::Names;
use rules::Rules;

/// Policies for a namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Suggestion {
    /// One for each workload, by name. `kubectl apply` takes them.
    pub policies: Vec<NetworkPolicy>,
    /// Observations that they allow.
    pub seen: usize,
    /// What somebody should know before applying them.
    pub notes: Vec<String>,
}

/// A policy for each workload of the namespace that was seen: it isolates in both directions and allows what passed, no more than
/// selectors and ports can say. Connections that policies denied are left out, and those to pods of other nodes where those policies may have
/// denied them: a workload of which no pod is here gets no policy.
#[must_use]
pub fn suggest(world: &World, seen: &[Observation], namespace: &str) -> Suggestion {
    let concerns = |seen: &&Observation| {
        let ends = [&seen.source, &seen.destination];
        seen.passed() && ends.iter().any(|end| end.namespace.as_deref() == Some(namespace))
    };
    let seen: Vec<_> = seen.iter().filter(concerns).collect();
    let judge = Judge::new(world, &[]);
    let groups = Groups::new(world, &seen);
    let mut suggestion = Suggestion { seen: seen.len(), ..Suggestion::default() };
    let mut names = Names::new(world, namespace);
    for group in groups.of(namespace) {
        if !group.here {
            suggestion.notes.push(format!(
                "no policy for {}: only agents of other nodes know what it receives",
                group.words()
            ));
            continue;
        }
        if group.labels.is_empty() {
            suggestion.notes.push(format!(
                "no policy for {}: it has no label that another pod of its kind would have too",
                group.words()
            ));
            continue;
        }
        let selector = groups.selector(group);
        let rules = |direction| Rules::of(group, direction, &seen, &groups, &judge);
        let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
        let name = names.give(group, &selector);
        suggestion.notes.extend(ingress.notes(&name).chain(egress.notes(&name)));
        suggestion.policies.push(manifest::policy(namespace, name, selector, &ingress, &egress));
    }
    suggestion.policies.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    suggestion
}
