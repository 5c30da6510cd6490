//! Which objects netpol reads.

use serde_json::Value;

/// A kind of object that netpol reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    NetworkPolicy,
    EndpointSlice,
    ServiceCidr,
}

/// What an object says it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TypeMeta {
    /// `apiVersion`
    pub(super) api_version: String,
    /// `kind`
    pub(super) kind: String,
}

impl TypeMeta {
    /// Reads both fields; `Err` names the one that is missing or no text.
    pub(super) fn of(value: &Value) -> Result<Self, &'static str> {
        let text =
            |field: &'static str| value.get(field).and_then(Value::as_str).map(str::to_owned).ok_or(field);
        Ok(Self { api_version: text("apiVersion")?, kind: text("kind")? })
    }

    /// The group, empty for the core one.
    pub(super) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The kind of the items if this is a list, whether it is the general `List` (then empty) or, say, a `PodList`.
    pub(super) fn list_of(&self) -> Option<&str> {
        self.kind.strip_suffix("List")
    }
}

impl Kind {
    /// The kind that group and name stand for. The version does not count here: an object of another version is ours,
    /// but cannot be read, which is something else than an object that we do not want.
    pub(super) fn of(meta: &TypeMeta) -> Option<Self> {
        match (meta.group(), meta.kind.as_str()) {
            ("", "Namespace") => Some(Self::Namespace),
            ("", "Node") => Some(Self::Node),
            ("", "Pod") => Some(Self::Pod),
            ("", "Service") => Some(Self::Service),
            ("networking.k8s.io" | "extensions", "NetworkPolicy") => Some(Self::NetworkPolicy),
            ("discovery.k8s.io", "EndpointSlice") => Some(Self::EndpointSlice),
            ("networking.k8s.io", "ServiceCIDR") => Some(Self::ServiceCidr),
            _ => None,
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub(super) fn namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::ServiceCidr)
    }
}
