//! Why something does not work, in words: what is wrong with a Service, pod or policy, read from the objects as they stand and judged by
//! the reference evaluator. No I/O.

mod cluster;
mod node;
mod pod;
mod policy;
mod select;
mod service;
mod words;

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use cluster::cluster;
pub use node::node;

use crate::{
    model::{Name, ObjectRef},
    oracle::World,
};

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or is not in force.
    Error,
    /// Something may not be as it was meant, or is about to go wrong.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: `Service shop/web`, `kernel`.
    pub about: String,
    /// What is so.
    pub reason: String,
    /// What to do; empty where there is nothing to do.
    #[serde(default)]
    pub advice: String,
}

impl Finding {
    /// Of any severity.
    #[must_use]
    pub fn new(
        severity: Severity,
        about: impl fmt::Display,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { severity, about: about.to_string(), reason: reason.into(), advice: advice.into() }
    }
}

/// What can be asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A Service.
    Service(Name),
    /// A Pod.
    Pod(Name),
    /// A NetworkPolicy.
    Policy(Name),
}

impl Subject {
    /// Kind, namespace and name.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::Service(name) => name.of_kind("Service"),
            Self::Pod(name) => name.of_kind("Pod"),
            Self::Policy(name) => name.of_kind("NetworkPolicy"),
        }
    }
}

impl FromStr for Subject {
    type Err = &'static str;
    /// `service/NAMESPACE/NAME`, `pod/…` or `networkpolicy/…`, with the short names that kubectl has.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, namespace, name] = parts[..] else { return Err(EXPECTED) };
        if namespace.is_empty() || name.is_empty() {
            return Err(EXPECTED);
        }
        let name = Name::new(namespace, name);
        match kind {
            "service" | "services" | "svc" => Ok(Self::Service(name)),
            "pod" | "pods" | "po" => Ok(Self::Pod(name)),
            "networkpolicy" | "networkpolicies" | "netpol" => Ok(Self::Policy(name)),
            _ => Err(EXPECTED),
        }
    }
}

const EXPECTED: &str =
    "a subject is service/NAMESPACE/NAME, pod/NAMESPACE/NAME or networkpolicy/NAMESPACE/NAME";

/// Everything that there is to say of one object, as clients on `node` find it; `None` if there is no such object.
#[must_use]
pub fn why(world: &World, node: &str, subject: &Subject) -> Option<Vec<Finding>> {
    match subject {
        Subject::Service(name) => service::why(world, node, name),
        Subject::Pod(name) => pod::why(world, name),
        Subject::Policy(name) => policy::why(world, name),
    }
}
