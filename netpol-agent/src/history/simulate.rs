use std::fmt;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::{Deserialize, Serialize};

use super::{judge::Judge, observation::Observation};
use crate::{
    model::Name,
    oracle::{Judgement, Verdict, World, namespace_in},
};

/// Policies that are to be other than they are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PolicyChange {
    /// Added, or put in the place of those with the same name.
    pub apply: Vec<NetworkPolicy>,
    /// Deleted.
    pub delete: Vec<Name>,
}

/// What observations would meet after a change, where that differs from what they would meet now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Simulation {
    /// Observations that were judged.
    pub judged: usize,
    /// Those that the change makes a difference to; denials first, then the most frequent first.
    pub changed: Vec<Changed>,
    /// Those that could not be judged, and why.
    pub unanswered: Vec<String>,
}

/// An observation that a change makes a difference to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// What was seen.
    pub seen: Observation,
    /// What the policies of now make of it.
    pub before: Outcome,
    /// What those to come make of it.
    pub after: Outcome,
    /// Why those to come do.
    pub judgement: Judgement,
}

/// What policies make of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is dropped.
    Denied,
    /// It passes, and would be dropped if policies in audit mode were enforced.
    Audited,
    /// It passes.
    Allowed,
}

impl Outcome {
    fn of(judgement: &Judgement) -> Self {
        let audited = |verdict: &Verdict| matches!(verdict, Verdict::Audited { .. });
        match judgement.allowed() {
            false => Self::Denied,
            true if audited(&judgement.egress) || audited(&judgement.ingress) => Self::Audited,
            true => Self::Allowed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "denied",
            Self::Audited => "audited",
            Self::Allowed => "allowed",
        })
    }
}

/// A policy that is to be deleted is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no NetworkPolicy {0} to delete")]
pub struct UnknownPolicy(pub Name);

/// Judges what was seen under the policies of `world`, and again after the change.
///
/// # Errors
/// If a policy is to be deleted that is not there.
pub fn simulate(
    world: &World,
    seen: &[Observation],
    change: &PolicyChange,
) -> Result<Simulation, UnknownPolicy> {
    let changed = policies_after(world, change)?;
    let (mut before, mut after) = (Judge::new(world, &world.policies), Judge::new(world, &changed));
    let mut simulation = Simulation::default();
    for observation in seen {
        match (before.judge(observation), after.judge(observation)) {
            (Ok(now), Ok(then)) => {
                simulation.judged += 1;
                let (before, after) = (Outcome::of(&now), Outcome::of(&then));
                if before != after {
                    let seen = observation.clone();
                    simulation.changed.push(Changed { seen, before, after, judgement: then });
                }
            }
            (Err(why), _) | (_, Err(why)) => simulation.unanswered.push(why.to_string()),
        }
    }
    simulation.changed.sort_by(|a, b| (a.after, b.seen.count).cmp(&(b.after, a.seen.count)));
    Ok(simulation)
}

fn policies_after(world: &World, change: &PolicyChange) -> Result<Vec<NetworkPolicy>, UnknownPolicy> {
    let mut policies = world.policies.clone();
    for name in &change.delete {
        let place = policies.iter().position(|policy| name_of(policy) == *name);
        policies.swap_remove(place.ok_or_else(|| UnknownPolicy(name.clone()))?);
    }
    for new in &change.apply {
        policies.retain(|policy| name_of(policy) != name_of(new));
        policies.push(new.clone());
    }
    Ok(policies)
}

pub(super) fn name_of(policy: &NetworkPolicy) -> Name {
    Name::new(namespace_in(&policy.metadata), policy.metadata.name.as_deref().unwrap_or_default())
}
