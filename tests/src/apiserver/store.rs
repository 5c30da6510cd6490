//! Objects, their versions, and the changes since the last compaction. No I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{resource::Resource, status::Status};

/// Namespace (empty where there is none) and name.
pub(super) type Key = (String, String);

/// A change of one object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(super) what: &'static str,
    pub(super) resource: &'static Resource,
    pub(super) object: Arc<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<&'static Resource, BTreeMap<Key, Arc<Value>>>,
    last: BTreeMap<&'static Resource, u64>,
    changes: VecDeque<Change>,
    /// Changes up to this one are forgotten.
    compacted: u64,
    created: u64,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The version of the last change of a kind.
    pub(super) fn last(&self, resource: &'static Resource) -> u64 {
        self.last.get(resource).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, resource: &'static Resource, key: &Key) -> Result<Arc<Value>, Status> {
        let found = self.objects.get(resource).and_then(|objects| objects.get(key));
        found.cloned().ok_or_else(|| Status::not_found(&format!("{} {:?}", resource.plural, key.1)))
    }

    /// All of a kind, or those of a namespace, by name.
    pub(super) fn list(&self, resource: &'static Resource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let all = self.objects.get(resource).into_iter().flatten();
        all.filter(|((ns, _), _)| namespace.is_none_or(|wanted| wanted == ns))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Creates or replaces an object, with what a server fills in.
    pub(super) fn put(
        &mut self,
        resource: &'static Resource,
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        let key = key_of(resource, &mut object)?;
        let before = self.objects.get(resource).and_then(|objects| objects.get(&key)).cloned();
        self.version += 1;
        let version = self.version;
        let metadata = &mut object["metadata"];
        let kept = |field: &str| before.as_ref().and_then(|b| b["metadata"].get(field)).cloned();
        if metadata.get("uid").is_none() {
            self.created += 1;
            let fresh = json!(format!("00000000-0000-4000-9000-{:012}", self.created));
            metadata["uid"] = kept("uid").unwrap_or(fresh);
        }
        if metadata.get("creationTimestamp").is_none_or(Value::is_null) {
            metadata["creationTimestamp"] =
                kept("creationTimestamp").unwrap_or(json!("2026-01-01T00:00:00Z"));
        }
        metadata["resourceVersion"] = json!(version.to_string());
        if resource.kind == "Namespace" {
            metadata["labels"]["kubernetes.io/metadata.name"] = json!(key.1);
        }
        let object = Arc::new(object);
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.objects.entry(resource).or_default().insert(key, object.clone());
        self.note(Change { version, what, resource, object: object.clone() });
        Ok(object)
    }

    pub(super) fn delete(&mut self, resource: &'static Resource, key: &Key) -> Result<Arc<Value>, Status> {
        let mut object = Value::clone(&*self.get(resource, key)?);
        if let Some(objects) = self.objects.get_mut(resource) {
            objects.remove(key);
        }
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        self.note(Change { version, what: "DELETED", resource, object: object.clone() });
        Ok(object)
    }

    fn note(&mut self, change: Change) {
        self.last.insert(change.resource, change.version);
        self.changes.push_back(change);
    }

    /// What happened to a kind after `version`.
    pub(super) fn changes(&self, resource: &'static Resource, version: u64) -> Result<Vec<Change>, Status> {
        if version < self.compacted {
            return Err(Status::expired(version));
        }
        let from = self.changes.partition_point(|change| change.version <= version);
        Ok(self.changes.range(from..).filter(|change| change.resource == resource).cloned().collect())
    }

    /// Forgets all changes so far.
    pub(super) fn compact(&mut self) {
        self.compacted = self.version;
        self.changes.clear();
    }
}

/// Reads the key, and writes the namespace into the object where it names none.
fn key_of(resource: &'static Resource, object: &mut Value) -> Result<Key, Status> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (name, mut namespace) = (text("name"), text("namespace"));
    if name.is_empty() {
        return Err(Status::new(422, "Invalid", "metadata.name: Required value"));
    }
    if !resource.namespaced {
        namespace = String::new();
    } else if namespace.is_empty() {
        namespace = "default".to_owned();
        object["metadata"]["namespace"] = json!(namespace);
    }
    object["kind"] = json!(resource.kind);
    object["apiVersion"] = json!(resource.api_version);
    Ok((namespace, name))
}
