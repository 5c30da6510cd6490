//! The objects that the agents see, as the reference evaluator sees them.

use anyhow::{Context, Result, bail};
use k8s_openapi::{
    Metadata,
    api::{core::v1::Pod, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use netpol_agent::{model::ObjectRef, oracle::World};
use netpol_tests::bed::{Bed, object_ref};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A bed, and what lies in its folder.
pub(crate) struct Cluster {
    pub(crate) bed: Bed,
    pub(crate) world: World,
}

impl Cluster {
    pub(crate) fn new(bed: Bed) -> Self {
        Self { bed, world: World::default() }
    }

    /// Creates or replaces an object in both.
    pub(crate) fn put(&mut self, object: &Value) -> Result<()> {
        if object["spec"]["nodeName"].as_str().is_some_and(|node| self.bed.node(node).is_err()) {
            self.bed.tell(object)?;
        } else {
            self.bed.apply(std::slice::from_ref(object))?;
        }
        self.note(object)
    }

    /// The evaluator's part of [`Cluster::put`].
    pub(crate) fn note(&mut self, object: &Value) -> Result<()> {
        let key = object_ref(object)?;
        match key.kind.as_str() {
            "Namespace" => replace(&mut self.world.namespaces, &key, Some(object)),
            "NetworkPolicy" => replace(&mut self.world.policies, &key, Some(object)),
            "Service" => replace(&mut self.world.services, &key, Some(object)),
            "Pod" => {
                let mut object = object.clone();
                if let Ok(pod) = self.bed.pod(&format!("{}/{}", key.namespace, key.name)) {
                    let ips: Vec<_> = pod.addresses.iter().map(|ip| json!({"ip": ip})).collect();
                    object["status"] = json!({"podIPs": ips, "phase": "Running"});
                }
                replace(&mut self.world.pods, &key, Some(&object))
            }
            other => bail!("nothing is known of {other}"),
        }
    }

    pub(crate) fn remove(&mut self, key: &ObjectRef) -> Result<()> {
        self.bed.delete(std::slice::from_ref(key))?;
        self.forget(key)
    }

    /// The evaluator's part of [`Cluster::remove`].
    pub(crate) fn forget(&mut self, key: &ObjectRef) -> Result<()> {
        match key.kind.as_str() {
            "NetworkPolicy" => replace::<NetworkPolicy>(&mut self.world.policies, key, None),
            "Pod" => replace::<Pod>(&mut self.world.pods, key, None),
            other => bail!("{other} stays"),
        }
    }
}

fn replace<T>(all: &mut Vec<T>, key: &ObjectRef, new: Option<&Value>) -> Result<()>
where
    T: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let is_it = |meta: &ObjectMeta| {
        meta.name.as_deref() == Some(&key.name)
            && meta.namespace.as_deref().unwrap_or_default() == key.namespace
    };
    all.retain(|object| !is_it(object.metadata()));
    if let Some(new) = new {
        all.push(serde_json::from_value(new.clone()).with_context(|| key.to_string())?);
    }
    Ok(())
}

/// Names a policy or pod.
pub(crate) fn key(kind: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
}
