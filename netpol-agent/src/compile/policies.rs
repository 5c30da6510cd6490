use netpol_common::{direction::Direction, policy::RuleId};

use super::{Compiler, rule};
use crate::{
    index::Index,
    model::{Mode, Name, Pod, Policy},
};

/// A revision of a policy, and its rules with their numbers by direction; `None` where it does not isolate.
#[derive(Debug)]
struct CompiledPolicy {
    policy: Policy,
    rules: [Option<Vec<rule::CompiledRule>>; 2],
}

/// What there is under a policy's name.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    in_force: Option<CompiledPolicy>,
    /// The revision that is held back because it does not fit: it isolates and allows nothing.
    held_back: Option<Policy>,
}

/// What the number of a rule stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleName {
    /// The policy.
    pub policy: Name,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Which list.
    pub direction: Direction,
    /// Place in the list.
    pub index: usize,
}

/// What the number of a slot stands for, as far as records are concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotName {
    /// Which direction.
    pub direction: Direction,
    /// The policies that isolate.
    pub policies: Vec<Name>,
}

/// Both directions, by their number.
pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl Compiler {
    pub(super) fn compile_policy(&mut self, name: &Name, index: &Index) {
        if let Some(old) = self.policies.remove(name).and_then(|entry| entry.in_force) {
            for rule in old.rules.iter().flatten().flatten() {
                self.rule_names.set(rule.id, None);
            }
        }
        let wanted = index.policy(name).cloned();
        let (policy, held_back) = match self.held_back.get(name) {
            Some(last_good) => (last_good.clone(), wanted),
            None => (wanted, None),
        };
        let Some(policy) = policy else {
            if held_back.is_some() {
                self.policies.insert(name.clone(), PolicyEntry { in_force: None, held_back });
            }
            return;
        };
        let rules = DIRECTIONS.map(|direction| rule::compile(&policy, direction, self.ids));
        for (direction, rules) in DIRECTIONS.iter().zip(&rules) {
            for (index, rule) in rules.iter().flatten().enumerate() {
                self.name_rule(
                    rule.id,
                    RuleName {
                        policy: name.clone(),
                        uid: policy.uid.clone(),
                        generation: policy.generation,
                        direction: *direction,
                        index,
                    },
                );
            }
        }
        let in_force = Some(CompiledPolicy { policy, rules });
        self.policies.insert(name.clone(), PolicyEntry { in_force, held_back });
    }

    /// From the next update on, the last good revision of a policy counts in place of the one that does not fit, whose
    /// pods are isolated all the same.
    pub fn hold_back(&mut self, name: Name, last_good: Option<Policy>) {
        self.held_back.insert(name, last_good);
    }

    /// From the next update on, a policy counts as it is.
    pub fn hold_back_no_more(&mut self, name: &Name) {
        self.held_back.remove(name);
    }

    /// The revision of a policy whose rules count.
    #[must_use]
    pub fn policy_in_force(&self, name: &Name) -> Option<&Policy> {
        Some(&self.policies.get(name)?.in_force.as_ref()?.policy)
    }

    /// The policies that isolate a pod in a direction, or with [`Mode::Audit`] would if they were not being tried, by name.
    pub fn isolating<'a>(
        &'a self,
        pod: &'a Pod,
        direction: Direction,
        index: &'a Index,
        mode: Mode,
    ) -> impl Iterator<Item = &'a Name> {
        self.isolating_rules(pod, direction, index, mode).map(|(name, _)| name)
    }

    /// The same with their rules.
    pub(super) fn isolating_rules<'a>(
        &'a self,
        pod: &'a Pod,
        direction: Direction,
        index: &'a Index,
        mode: Mode,
    ) -> impl Iterator<Item = (&'a Name, &'a [rule::CompiledRule])> {
        let namespace = &pod.name.namespace;
        let entries = self.policies.range(Name::new(namespace, "")..);
        let entries = entries.take_while(move |(name, _)| name.namespace == *namespace);
        entries.filter_map(move |(name, entry)| {
            let in_force = entry.in_force.as_ref();
            // A revision that does not fit may say all the same how it is meant.
            let latest = entry.held_back.as_ref().or(in_force.map(|c| &c.policy))?;
            if index.mode_of(latest) != mode {
                return None;
            }
            let in_force = in_force.filter(|c| index.selects(&c.policy, pod));
            let rules = in_force.and_then(|c| c.rules[direction as usize].as_deref());
            let closes = |p: &&Policy| index.selects(p, pod) && p.rules(direction).is_some();
            let closed = || entry.held_back.as_ref().filter(closes).map(|_| &[][..]);
            Some((name, rules.or_else(closed)?))
        })
    }

    fn name_rule(&mut self, id: RuleId, name: RuleName) {
        if self.rule_names.rows().get(&id).is_some_and(|known| *known != name) {
            self.collisions.add("rule", id.0);
        }
        self.rule_names.set(id, Some(name));
    }
}
