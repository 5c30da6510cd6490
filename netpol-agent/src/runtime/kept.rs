use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{Manifest, ObjectRef};

/// Objects as the source delivered them, for the reference evaluator. It is asked seldom and they are many, so they are kept
/// as text: the API's own types take about ten times as much.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Box<str>, Text>);

#[derive(Debug)]
struct Text {
    json: Box<[u8]>,
    read: Read,
}

type Read = fn(&[u8]) -> Option<Manifest>;

impl Kept {
    pub(super) fn insert(&mut self, object: &ObjectRef, manifest: &Manifest) {
        let read: Read = match manifest {
            Manifest::Namespace(_) => |json| read(json).map(Manifest::Namespace),
            Manifest::Node(_) => |json| read(json).map(Manifest::Node),
            Manifest::Pod(_) => |json| read(json).map(Manifest::Pod),
            Manifest::Service(_) => |json| read(json).map(Manifest::Service),
            Manifest::NetworkPolicy(_) => |json| read(json).map(Manifest::NetworkPolicy),
            Manifest::EndpointSlice(_) => |json| read(json).map(Manifest::EndpointSlice),
            Manifest::ServiceCidr(_) => |json| read(json).map(Manifest::ServiceCidr),
        };
        match serde_json::to_vec(manifest) {
            Ok(json) => drop(self.0.insert(key(object), Text { json: json.into_boxed_slice(), read })),
            Err(error) => {
                // It would be explained as it was before.
                self.0.remove(&key(object));
                tracing::error!(%object, %error, "cannot be kept for explanations");
            }
        }
    }

    pub(super) fn remove(&mut self, object: &ObjectRef) -> Option<Manifest> {
        self.0.remove(&key(object)).and_then(|text| text.manifest())
    }

    pub(super) fn get(&self, object: &ObjectRef) -> Option<Manifest> {
        self.0.get(&key(object)).and_then(Text::manifest)
    }

    pub(super) fn manifests(&self) -> impl Iterator<Item = Manifest> {
        self.0.values().filter_map(Text::manifest)
    }
}

impl Text {
    fn manifest(&self) -> Option<Manifest> {
        (self.read)(&self.json)
    }
}

/// What was written by the same types is read by them.
fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<Box<T>> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::error!(%error, "a kept object"))
        .ok()
        .map(Box::new)
}

/// One text for the three parts: no name has a slash.
fn key(object: &ObjectRef) -> Box<str> {
    let ObjectRef { kind, namespace, name } = object;
    format!("{kind}/{namespace}/{name}").into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model, source::manifests};

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let all = manifests(include_str!("kept_test.yaml"));
        let mut kept = Kept::default();
        all.iter().for_each(|manifest| kept.insert(&model::reference(manifest), manifest));
        assert_eq!(all.len(), 7, "one of each kind");
        for manifest in &all {
            assert!(kept.manifests().any(|found| found == *manifest), "{manifest:?}");
            assert_eq!(kept.remove(&model::reference(manifest)).as_ref(), Some(manifest));
        }
        assert_eq!(kept.manifests().count(), 0);
    }
}
