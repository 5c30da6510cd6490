//! The cluster's objects: what an API server would hold, as files in the folder that the agents watch.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::model::ObjectRef;
use serde_json::{Value, json};

use super::spec::{Family, service_range};
use crate::apiserver::{ApiServer, Resource};

/// Every object of the cluster.
#[derive(Debug)]
pub(super) struct Objects {
    folder: PathBuf,
    families: Vec<Family>,
    all: BTreeMap<ObjectRef, Value>,
    /// Has the same objects.
    server: Option<ApiServer>,
    created: u64,
    next_service: u8,
}

/// Names an object that a manifest describes.
///
/// # Errors
/// If it has no kind or no name.
pub fn object_ref(object: &Value) -> Result<ObjectRef> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").context("an object without kind")?;
    let name = text("/metadata/name").with_context(|| format!("a {kind} without metadata.name"))?;
    let scoped = Resource::of_kind(kind).is_none_or(|resource| resource.namespaced);
    let namespace = if scoped { text("/metadata/namespace").unwrap_or("default") } else { "" };
    Ok(ObjectRef { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
}

impl Objects {
    pub(super) fn new(folder: PathBuf, families: &[Family]) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            families: families.to_vec(),
            all: BTreeMap::new(),
            server: None,
            created: 0,
            next_service: 1,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Those that an API server has too.
    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.all.iter().filter(|(key, _)| is_served(key)).map(|(_, object)| object)
    }

    pub(super) fn set_server(&mut self, server: ApiServer) {
        self.server = Some(server);
    }

    pub(super) fn get(&self, object: &ObjectRef) -> Option<&Value> {
        self.all.get(object)
    }

    /// Those of a namespace, Pods included.
    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<ObjectRef> {
        self.all.keys().filter(|o| o.namespace == namespace).cloned().collect()
    }

    /// Creates or replaces an object, with what an API server would have filled in.
    pub(super) fn put(&mut self, mut object: Value) -> Result<ObjectRef> {
        let key = object_ref(&object)?;
        self.fill_in(&key, &mut object).with_context(|| key.to_string())?;
        let path = self.path(&key);
        // Written outside of the folder and renamed into it: nobody ever reads half a file.
        let draft = self.folder.with_extension("draft");
        fs::write(&draft, serde_saphyr::to_string(&object)?)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| path.display().to_string())?;
        if let Some(server) = self.server.as_ref().filter(|_| is_served(&key)) {
            server.put(object.clone())?;
        }
        self.all.insert(key.clone(), object);
        Ok(key)
    }

    pub(super) fn remove(&mut self, key: &ObjectRef) -> Result<()> {
        ensure!(self.all.remove(key).is_some(), "{key}: there is no such object to delete");
        if let Some(server) = self.server.as_ref().filter(|_| is_served(key)) {
            server.delete(key)?;
        }
        let path = self.path(key);
        fs::remove_file(&path).with_context(|| path.display().to_string())
    }

    /// The cluster addresses of a Service.
    pub(super) fn service_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>> {
        self.addresses_of(namespace, name, "/spec/clusterIPs", "")
    }

    /// The addresses that a load balancer has for a Service.
    pub(super) fn load_balancer_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>> {
        self.addresses_of(namespace, name, "/status/loadBalancer/ingress", "/ip")
    }

    /// What stands at `one` in each item of the list at `list`.
    fn addresses_of(&self, namespace: &str, name: &str, list: &str, one: &str) -> Result<Vec<IpAddr>> {
        let key = ObjectRef { kind: "Service".into(), namespace: namespace.into(), name: name.into() };
        let service = self.get(&key).with_context(|| format!("there is no {key}"))?;
        let items = service.pointer(list).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(|item| item.pointer(one).and_then(Value::as_str))
            .map(|a| a.parse().with_context(|| format!("{key}: no address to dial: {a}")))
            .collect()
    }

    fn path(&self, key: &ObjectRef) -> PathBuf {
        let ObjectRef { kind, namespace, name } = key;
        let kind = kind.to_lowercase();
        let file = if namespace.is_empty() {
            format!("{kind}.{name}")
        } else {
            format!("{kind}.{namespace}.{name}")
        };
        self.folder.join(file + ".yaml")
    }

    fn fill_in(&mut self, key: &ObjectRef, object: &mut Value) -> Result<()> {
        let before = self.all.get(key);
        let metadata = object["metadata"].as_object_mut().context("metadata")?;
        if !key.namespace.is_empty() {
            metadata.insert("namespace".into(), json!(key.namespace));
        }
        let kept = |field: &str| before.and_then(|b| b.pointer(&format!("/metadata/{field}"))).cloned();
        if !metadata.contains_key("uid") {
            let uid = kept("uid").unwrap_or_else(|| {
                self.created += 1;
                json!(format!("00000000-0000-4000-8000-{:012}", self.created))
            });
            metadata.insert("uid".into(), uid);
        }
        if !metadata.contains_key("generation") {
            let last = kept("generation").and_then(|g| g.as_i64()).unwrap_or(0);
            let changed = before.is_none_or(|b| b.get("spec") != object.get("spec"));
            object["metadata"]["generation"] = json!(last + i64::from(changed));
        }
        match key.kind.as_str() {
            "Namespace" => object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(key.name),
            "Service" => self.give_address(key, object)?,
            _ => {}
        }
        Ok(())
    }

    /// ClusterIPs as the API server allocates them: one family unless the Service asks for more.
    fn give_address(&mut self, key: &ObjectRef, service: &mut Value) -> Result<()> {
        let kept = self.all.get(key).and_then(|b| b.pointer("/spec/clusterIPs")).cloned();
        let spec = service.get_mut("spec").context("spec")?;
        if spec["type"] == "ExternalName" {
            return Ok(());
        }
        let one = spec.get("clusterIP").and_then(Value::as_str).filter(|a| !a.is_empty()).map(str::to_owned);
        let many = spec.get("clusterIPs").filter(|a| a.as_array().is_some_and(|a| !a.is_empty())).cloned();
        let addresses = match (one, many, kept) {
            (_, Some(many), _) => many,
            (Some(one), None, _) => json!([one]),
            (None, None, Some(kept)) => kept,
            (None, None, None) => {
                let number = self.next_service;
                self.next_service =
                    number.checked_add(1).context("more Services than the bed has addresses for")?;
                json!(self.families_of(spec)?.iter().map(|f| service_address(*f, number)).collect::<Vec<_>>())
            }
        };
        spec["clusterIP"] = addresses[0].clone();
        spec["clusterIPs"] = addresses;
        Ok(())
    }

    fn families_of(&self, spec: &Value) -> Result<Vec<Family>> {
        if let Some(asked) = spec.get("ipFamilies").and_then(Value::as_array) {
            return asked
                .iter()
                .map(|f| match f.as_str() {
                    Some("IPv4") => Ok(Family::V4),
                    Some("IPv6") => Ok(Family::V6),
                    _ => bail!("spec.ipFamilies: {f}"),
                })
                .collect();
        }
        let dual = matches!(spec["ipFamilyPolicy"].as_str(), Some("PreferDualStack" | "RequireDualStack"));
        Ok(if dual { self.families.clone() } else { self.families.iter().take(1).copied().collect() })
    }
}

fn is_served(key: &ObjectRef) -> bool {
    Resource::of_kind(&key.kind).is_some()
}

/// The service range's last but one part, so that addresses given by hand rarely meet it.
fn service_address(family: Family, number: u8) -> IpAddr {
    match service_range(family).network() {
        IpAddr::V4(base) => IpAddr::V4((u32::from(base) + 0xf000 + u32::from(number)).into()),
        IpAddr::V6(base) => IpAddr::V6((u128::from(base) + 0xf000 + u128::from(number)).into()),
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
