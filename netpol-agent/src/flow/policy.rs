use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// A policy that had a say, and the rule of it that allowed the connection if one did.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// `NetworkPolicy`
    pub kind: PolicyKind,
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.generation` of what was in force, 0 if the source has none.
    pub generation: i64,
    /// `ingress` or `egress`: for which end it spoke.
    pub direction: String,
    /// Position of the rule in `spec.ingress` or `spec.egress`, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Path of the rule in the object: `spec.ingress[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Path of the first peer of the rule that the other end matches: `spec.ingress[1].from[0]`. Not there if the rule is for
    /// every peer, or has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// It was deleted and is in force until the pods of its namespace, which is being deleted, are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

/// Kinds of policies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum PolicyKind {
    /// `networking.k8s.io/v1`
    NetworkPolicy,
}

impl PolicyKind {
    /// The kind as objects write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
        }
    }
}

impl fmt::Display for PolicyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, rule, kept, .. } = self;
        write!(f, "{namespace}/{name}")?;
        rule.iter().try_for_each(|rule| write!(f, " {rule}"))?;
        if *kept { f.write_str(" (kept)") } else { Ok(()) }
    }
}
