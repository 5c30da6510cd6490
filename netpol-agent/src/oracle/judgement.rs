use std::fmt;

use serde::{Deserialize, Serialize};

use super::miss::Miss;

/// Names a policy, pod or Service: `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectName {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The answer: a connection is allowed if both ends allow it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// May the source send?
    pub egress: Verdict,
    /// May the destination receive?
    pub ingress: Verdict,
}

impl Judgement {
    /// Whether both ends allow it.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.egress.allows() && self.ingress.allows()
    }
}

/// What one end says, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Allowed: the end is no pod with a network of its own, so no policy can select it.
    NotAPod,
    /// Allowed: a pod cannot block access to itself.
    Itself,
    /// Allowed: the node that the pod runs on may always reach it.
    OwnNode,
    /// Allowed: no policy selects the pod for this direction.
    NotIsolated,
    /// Allowed by at least one rule.
    Allowed {
        /// The policies that isolate the pod in this direction, by name.
        isolated_by: Vec<ObjectName>,
        /// Every rule that allows it, in order of policy and index; never empty.
        rules: Vec<RuleMatch>,
    },
    /// Allowed because the policies that select the pod are in audit mode, all of them: no rule of theirs allows it.
    Audited {
        /// The policies that would isolate the pod in this direction, by name.
        isolated_by: Vec<ObjectName>,
        /// As in [`Verdict::Denied`].
        misses: Vec<Miss>,
    },
    /// Isolated, and no rule allows it.
    Denied {
        /// The policies that isolate the pod in this direction, by name; empty if what isolates it is not known any more.
        isolated_by: Vec<ObjectName>,
        /// Every rule of theirs for this direction with what it lacked; the nearest first.
        misses: Vec<Miss>,
    },
}

impl Verdict {
    /// Whether this end lets the connection pass.
    #[must_use]
    pub fn allows(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }
    /// The rule that came closest to allowing it, if there was any rule.
    #[must_use]
    pub fn nearest_miss(&self) -> Option<&Miss> {
        match self {
            Self::Denied { misses, .. } | Self::Audited { misses, .. } => misses.first(),
            _ => None,
        }
    }
}

/// A rule that allows the connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleMatch {
    /// Whose rule.
    pub policy: ObjectName,
    /// Position in `spec.ingress` or `spec.egress`, from 0.
    pub index: usize,
    /// Path of the rule in the object: `spec.ingress[0]`.
    pub path: String,
    /// Path of the first peer that matched; `None` if the rule is for every peer.
    pub peer: Option<String>,
    /// Path of the first port that matched; `None` if the rule is for every port.
    pub port: Option<String>,
}
