//! The kinds that are watched, and how an object of each is read.

use std::{fmt, marker::PhantomData};

use serde::de::{Deserialize, DeserializeSeed, Deserializer};
use serde_json::Value;

use super::keep::{self, Keep};
use crate::model::ObjectRef;

/// A kind of object that is watched.
pub(super) trait Wanted: Send + Sync + 'static {
    /// `kind`
    const KIND: &'static str;
    /// `apiVersion`
    const API_VERSION: &'static str;
    /// The path of the collection.
    const PATH: &'static str;
    /// Clusters may do without it.
    const OPTIONAL: bool = false;
    const KEEP: &'static Keep;
}

macro_rules! wanted {
    ($($kind:ident: $name:literal in $version:literal at $path:literal, $keep:ident $(, optional: $optional:literal)?;)*) => {$(
        pub(super) enum $kind {}

        impl Wanted for $kind {
            const KIND: &'static str = $name;
            const API_VERSION: &'static str = $version;
            const PATH: &'static str = $path;
            $(const OPTIONAL: bool = $optional;)?
            const KEEP: &'static Keep = &keep::$keep;
        }
    )*};
}

wanted! {
    Namespaces: "Namespace" in "v1" at "/api/v1/namespaces", NAMESPACE;
    Nodes: "Node" in "v1" at "/api/v1/nodes", NODE;
    Pods: "Pod" in "v1" at "/api/v1/pods", POD;
    Services: "Service" in "v1" at "/api/v1/services", SERVICE;
    NetworkPolicies: "NetworkPolicy" in "networking.k8s.io/v1" at "/apis/networking.k8s.io/v1/networkpolicies", NETWORK_POLICY;
    EndpointSlices: "EndpointSlice" in "discovery.k8s.io/v1" at "/apis/discovery.k8s.io/v1/endpointslices", ENDPOINT_SLICE;
    ServiceCidrs: "ServiceCIDR" in "networking.k8s.io/v1" at "/apis/networking.k8s.io/v1/servicecidrs", SERVICE_CIDR, optional: true;
}

/// Where an object of an API server is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// `networking.k8s.io/v1`
    pub api_version: &'static str,
    /// The path of the collection that it is in, within its namespace.
    pub path: String,
}

/// Where an object is found, if its kind is one that is watched.
#[must_use]
pub fn place_of(object: &ObjectRef) -> Option<Place> {
    macro_rules! find {
        ($($kind:ty),*) => {
            match object.kind.as_str() {
                $(<$kind>::KIND => (<$kind>::API_VERSION, <$kind>::PATH),)*
                _ => return None,
            }
        };
    }
    let (api_version, whole) =
        find!(Namespaces, Nodes, Pods, Services, NetworkPolicies, EndpointSlices, ServiceCidrs);
    let path = match whole.rsplit_once('/') {
        Some((group, plural)) if !object.namespace.is_empty() => {
            format!("{group}/namespaces/{}/{plural}", object.namespace)
        }
        _ => whole.to_owned(),
    };
    Some(Place { api_version, path })
}

/// An object of the kind, cut down to what netpol reads. Reading it never fails where the text is JSON: what is wrong with
/// it is found later, and is a matter of this object alone.
pub(super) struct Cut<W> {
    pub(super) value: Value,
    kind: PhantomData<fn() -> W>,
}

impl<W: Wanted> Cut<W> {
    fn text(&self, field: &str) -> Option<&str> {
        self.value.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// Empty for what has none.
    pub(super) fn namespace(&self) -> &str {
        self.text("namespace").unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.text("uid").unwrap_or_default()
    }

    /// `metadata.resourceVersion`, 0 where it is no number. Numbers can be compared within a kind (KEP-5504).
    pub(super) fn version(&self) -> u64 {
        self.text("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0)
    }
}

impl<W> Clone for Cut<W> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), kind: PhantomData }
    }
}

impl<W> fmt::Debug for Cut<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<'de, W: Wanted> Deserialize<'de> for Cut<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = W::KEEP.deserialize(deserializer)?;
        // Items of a list do not say what they are.
        if let Value::Object(fields) = &mut value {
            fields.entry("apiVersion").or_insert_with(|| W::API_VERSION.into());
            fields.entry("kind").or_insert_with(|| W::KIND.into());
        }
        Ok(Self { value, kind: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;

    #[test]
    fn an_object_is_found_in_its_namespace_or_in_none() {
        let path = |object: &ObjectRef| place_of(object).map(|place| place.path);
        let policy = Name::new("shop", "db").of_kind("NetworkPolicy");
        let wanted = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
        assert_eq!(path(&policy).as_deref(), Some(wanted));
        assert_eq!(path(&Name::new("", "n1").of_kind("Node")).as_deref(), Some("/api/v1/nodes"));
        assert_eq!(path(&Name::new("shop", "db").of_kind("ConfigMap")), None);
    }
}
