use netpol_common::{direction::Direction, policy::RuleId};

use super::{Compiler, rule};
use crate::{index::Index, model::Name};

/// The rules of a policy with their numbers, by direction; `None` where it does not isolate.
#[derive(Debug)]
pub(super) struct CompiledPolicy {
    pub(super) rules: [Option<Vec<rule::CompiledRule>>; 2],
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
        if let Some(old) = self.policies.remove(name) {
            for rule in old.rules.iter().flatten().flatten() {
                self.rule_names.set(rule.id, None);
            }
        }
        let Some(policy) = index.policy(name) else { return };
        let rules = DIRECTIONS.map(|direction| rule::compile(policy, direction, self.ids));
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
        self.policies.insert(name.clone(), CompiledPolicy { rules });
    }

    fn name_rule(&mut self, id: RuleId, name: RuleName) {
        if self.rule_names.rows().get(&id).is_some_and(|known| *known != name) {
            self.collisions.add("rule", id.0);
        }
        self.rule_names.set(id, Some(name));
    }
}
