use std::collections::BTreeMap;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::Deserialize;

use crate::model::{Manifest, ObjectRef};

/// Objects as the source delivered them, for the reference evaluator. It is asked seldom and they are many, so they are kept
/// as compressed text (`docs/adr/0132-kept-objects.md`).
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Box<str>, Shelf>);

/// The objects of one kind in one namespace, which are much alike.
#[derive(Debug)]
struct Shelf {
    read: Read,
    /// The text of the first that came. What others have in common with it they do not repeat.
    pattern: Box<[u8]>,
    /// By name.
    texts: BTreeMap<Box<str>, Box<[u8]>>,
}

type Read = fn(&[u8]) -> Option<Manifest>;

impl Kept {
    pub(super) fn insert(&mut self, object: &ObjectRef, manifest: &Manifest) {
        let json = match serde_json::to_vec(manifest) {
            Ok(json) => json,
            Err(error) => {
                // It would be explained as it was before.
                self.remove(object);
                tracing::error!(%object, %error, "cannot be kept for explanations");
                return;
            }
        };
        let shelf = self.0.entry(shelf(object)).or_insert_with(|| Shelf {
            read: reader(manifest),
            pattern: json.clone().into_boxed_slice(),
            texts: BTreeMap::new(),
        });
        let text = compress_prepend_size_with_dict(&json, &shelf.pattern);
        shelf.texts.insert(object.name.as_str().into(), text.into_boxed_slice());
    }

    pub(super) fn remove(&mut self, object: &ObjectRef) -> Option<Manifest> {
        let key = shelf(object);
        let shelf = self.0.get_mut(&key)?;
        let text = shelf.texts.remove(object.name.as_str())?;
        let manifest = shelf.manifest(&text);
        if shelf.texts.is_empty() {
            self.0.remove(&key);
        }
        manifest
    }

    pub(super) fn get(&self, object: &ObjectRef) -> Option<Manifest> {
        let shelf = self.0.get(&shelf(object))?;
        shelf.manifest(shelf.texts.get(object.name.as_str())?)
    }

    pub(super) fn manifests(&self) -> impl Iterator<Item = Manifest> {
        self.0.values().flat_map(|shelf| shelf.texts.values().filter_map(|text| shelf.manifest(text)))
    }
}

impl Shelf {
    fn manifest(&self, text: &[u8]) -> Option<Manifest> {
        let json = decompress_size_prepended_with_dict(text, &self.pattern)
            .inspect_err(|error| tracing::error!(%error, "a kept object"))
            .ok()?;
        (self.read)(&json)
    }
}

fn reader(manifest: &Manifest) -> Read {
    match manifest {
        Manifest::Namespace(_) => |json| read(json).map(Manifest::Namespace),
        Manifest::Node(_) => |json| read(json).map(Manifest::Node),
        Manifest::Pod(_) => |json| read(json).map(Manifest::Pod),
        Manifest::Service(_) => |json| read(json).map(Manifest::Service),
        Manifest::NetworkPolicy(_) => |json| read(json).map(Manifest::NetworkPolicy),
        Manifest::EndpointSlice(_) => |json| read(json).map(Manifest::EndpointSlice),
        Manifest::ServiceCidr(_) => |json| read(json).map(Manifest::ServiceCidr),
    }
}

/// What was written by the same types is read by them.
fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<Box<T>> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::error!(%error, "a kept object"))
        .ok()
        .map(Box::new)
}

/// One text for the two parts: no kind has a slash.
fn shelf(object: &ObjectRef) -> Box<str> {
    let ObjectRef { kind, namespace, name: _ } = object;
    format!("{kind}/{namespace}").into_boxed_str()
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

    #[test]
    fn of_many_that_are_alike_little_is_kept() {
        let [pod] = &manifests(include_str!("kept_test.yaml"))
            .into_iter()
            .filter_map(|manifest| match manifest {
                Manifest::Pod(pod) => Some(*pod),
                _ => None,
            })
            .collect::<Vec<_>>()[..]
        else {
            panic!("one pod")
        };
        let pods: Vec<Manifest> = (0..100)
            .map(|n| {
                let mut pod = pod.clone();
                pod.metadata.name = Some(format!("pod-{n}"));
                Manifest::Pod(Box::new(pod))
            })
            .collect();
        let mut kept = Kept::default();
        pods.iter().for_each(|pod| kept.insert(&model::reference(pod), pod));
        // The first one is what the others are told apart from, also when it has gone.
        assert_eq!(kept.remove(&model::reference(&pods[0])).as_ref(), Some(&pods[0]));
        for pod in &pods[1..] {
            assert_eq!(kept.get(&model::reference(pod)).as_ref(), Some(pod));
        }
        let plain: usize = pods.iter().map(|pod| serde_json::to_vec(pod).unwrap().len()).sum();
        let taken: usize =
            kept.0.values().flat_map(|shelf| shelf.texts.values()).map(|text| text.len()).sum();
        assert!(taken * 5 < plain, "{taken} of {plain} bytes");
    }
}
