use std::fmt;

use serde::{Deserialize, Serialize};

/// Names an object: what users type after `kubectl get`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `Pod`, `NetworkPolicy`, …
    pub kind: String,
    /// Empty for objects of the cluster.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() { write!(f, "{kind} {name}") } else { write!(f, "{kind} {namespace}/{name}") }
    }
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something the user wrote is not in force as written.
    #[default]
    Error,
    /// Worth knowing: everything is in force as written.
    Note,
}

/// Something a user must know about an object: one line, naming the object and the field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Problem {
    /// How much it matters.
    #[serde(default)]
    pub level: Level,
    /// Where the object came from, for example a file; empty if the source has no such name.
    pub origin: String,
    /// The object, if the input could be read that far.
    pub object: Option<ObjectRef>,
    /// Path of the field, for example `spec.ingress[0].from[1].ipBlock.cidr`; empty for the object as a whole.
    pub field: String,
    /// What is wrong, and what netpol does about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level: _, origin, object, field, message } = self;
        for part in
            [origin.clone(), object.as_ref().map(ToString::to_string).unwrap_or_default(), field.clone()]
        {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(message)
    }
}
