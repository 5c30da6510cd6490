//! The kinds that the server has.

/// A kind, as its collection is reached.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// `pods`
    pub plural: &'static str,
    /// `pod`
    pub singular: &'static str,
    /// `po`
    pub short: &'static str,
    /// `Pod`
    pub kind: &'static str,
    /// `v1`, `networking.k8s.io/v1`
    pub api_version: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

macro_rules! resources {
    ($($plural:literal $singular:literal $short:literal $kind:literal $version:literal $namespaced:literal;)*) => {
        /// All of them.
        pub static RESOURCES: &[Resource] = &[$(Resource {
            plural: $plural,
            singular: $singular,
            short: $short,
            kind: $kind,
            api_version: $version,
            namespaced: $namespaced,
        }),*];
    };
}

resources! {
    "namespaces" "namespace" "ns" "Namespace" "v1" false;
    "nodes" "node" "no" "Node" "v1" false;
    "pods" "pod" "po" "Pod" "v1" true;
    "services" "service" "svc" "Service" "v1" true;
    "networkpolicies" "networkpolicy" "netpol" "NetworkPolicy" "networking.k8s.io/v1" true;
    "servicecidrs" "servicecidr" "" "ServiceCIDR" "networking.k8s.io/v1" false;
    "endpointslices" "endpointslice" "" "EndpointSlice" "discovery.k8s.io/v1" true;
    "events" "event" "ev" "Event" "events.k8s.io/v1" true;
}

impl Resource {
    /// By `apiVersion` and the last part of the collection's path.
    #[must_use]
    pub fn find(api_version: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|r| r.api_version == api_version && r.plural == plural)
    }

    /// By `kind`.
    #[must_use]
    pub fn of_kind(kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|r| r.kind == kind)
    }

    /// Whether agents watch the kind.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.kind != "Event"
    }

    /// Empty for the core group.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}
