use k8s_openapi::api::{
    core::v1::Pod,
    networking::v1::{NetworkPolicy, NetworkPolicySpec},
};
use netpol_common::direction::Direction;

use super::{
    judgement::{Judgement, ObjectName, RuleMatch, Verdict},
    miss::Miss,
    party::{End, Question, Unanswerable},
    peer, port,
    rule::{Outcome, rules_of},
    selector::selects,
    world::{World, labels_of, name_of, namespace_in, namespace_of, node_of},
};

/// Whether a new connection is allowed, by what, or for want of what.
///
/// # Errors
/// If an end is not in the world or has no address of the family.
pub fn judge(world: &World, question: &Question) -> Result<Judgement, Unanswerable> {
    let from = End::find(world, &question.from, question.family)?;
    let to = End::find(world, &question.to, question.family)?;
    let same = |a: &Pod, b: &Pod| namespace_of(a) == namespace_of(b) && name_of(a) == name_of(b);
    if let (Some(a), Some(b)) = (from.pod, to.pod)
        && same(a, b)
    {
        return Ok(Judgement { egress: Verdict::Itself, ingress: Verdict::Itself });
    }
    let egress = match from.pod {
        None => Verdict::NotAPod,
        Some(pod) => at_end(world, Direction::Egress, pod, &to, question, to.pod),
    };
    let ingress = match to.pod {
        None => Verdict::NotAPod,
        Some(pod) if from.node.is_some() && from.node == node_of(pod) => Verdict::OwnNode,
        Some(pod) => at_end(world, Direction::Ingress, pod, &from, question, to.pod),
    };
    Ok(Judgement { egress, ingress })
}

/// What the policies that select `pod` say of a connection with `other`.
fn at_end(
    world: &World,
    direction: Direction,
    pod: &Pod,
    other: &End<'_>,
    question: &Question,
    destination: Option<&Pod>,
) -> Verdict {
    let mut isolating: Vec<(ObjectName, NetworkPolicySpec)> = Vec::new();
    let mut tried: Vec<(ObjectName, NetworkPolicySpec)> = Vec::new();
    let kept = world.kept.iter().filter(|_| world.is_left_behind(pod));
    for policy in world.policies.iter().chain(kept) {
        let spec = policy.spec.clone().unwrap_or_default();
        if isolates(policy, &spec, direction, pod) {
            let of_its_kind = if world.is_tried(policy) { &mut tried } else { &mut isolating };
            of_its_kind.push((policy_name(policy), spec));
        }
    }
    let name = ObjectName { namespace: namespace_of(pod).into(), name: name_of(pod).into() };
    // Policies in audit mode are asked where no other has a say.
    let audit = isolating.is_empty() && !world.closed.contains(&(name, direction));
    if audit {
        isolating = tried;
        if isolating.is_empty() {
            return Verdict::NotIsolated;
        }
    }
    isolating.sort_by(|(a, _), (b, _)| a.cmp(b));
    let isolated_by = isolating.iter().map(|(name, _)| name.clone()).collect();
    let (mut rules, mut misses) = (Vec::new(), Vec::new());
    for (policy, spec) in isolating {
        for (index, rule) in rules_of(&spec, direction).into_iter().enumerate() {
            let outcome = rule.try_match(
                |entry| peer::matches(world, entry, &policy.namespace, other),
                |entry| port::matches(entry, question.protocol, question.port, destination),
            );
            let (policy, path) = (policy.clone(), rule.path);
            match outcome {
                Outcome::Match { peer, port } => rules.push(RuleMatch { policy, index, path, peer, port }),
                Outcome::Miss { peers, ports } => misses.push(Miss { policy, index, path, peers, ports }),
            }
        }
    }
    if rules.is_empty() {
        misses.sort_by_key(Miss::distance);
        match audit {
            true => Verdict::Audited { isolated_by, misses },
            false => Verdict::Denied { isolated_by, misses },
        }
    } else {
        Verdict::Allowed { isolated_by, rules }
    }
}

fn policy_name(policy: &NetworkPolicy) -> ObjectName {
    ObjectName {
        namespace: namespace_in(&policy.metadata).into(),
        name: policy.metadata.name.clone().unwrap_or_default(),
    }
}

/// Whether the policy selects the pod for the direction.
fn isolates(policy: &NetworkPolicy, spec: &NetworkPolicySpec, direction: Direction, pod: &Pod) -> bool {
    if policy_name(policy).namespace != namespace_of(pod) {
        return false;
    }
    let selector = spec.pod_selector.clone().unwrap_or_default();
    // Nobody can say whom a selector without a meaning selects: closed for the whole namespace rather than open.
    let selected = selects(&selector, &labels_of(pod)).unwrap_or(true);
    selected && concerns(spec, direction)
}

/// Whether a policy with this specification isolates in the direction.
pub(crate) fn concerns(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    let types = spec.policy_types.clone().unwrap_or_default();
    if types.is_empty() {
        return match direction {
            Direction::Ingress => true,
            Direction::Egress => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        };
    }
    // A type that is none leaves open what was meant: both.
    types.iter().any(|name| match name.as_str() {
        "Ingress" => direction == Direction::Ingress,
        "Egress" => direction == Direction::Egress,
        _ => true,
    })
}
