use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

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
    texts: BTreeSet<Text>,
}

/// The name of an object and its compressed text, in one piece: behind four bytes with the length of the name. Found by name.
#[derive(Debug)]
struct Text(Box<[u8]>);

/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

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
            texts: BTreeSet::new(),
        });
        let text = compress_prepend_size_with_dict(&json, &shelf.pattern);
        shelf.texts.replace(Text::new(&object.name, &text));
    }

    pub(super) fn remove(&mut self, object: &ObjectRef) -> Option<Manifest> {
        let key = shelf(object);
        let shelf = self.0.get_mut(&key)?;
        let text = shelf.texts.take(object.name.as_bytes())?;
        let manifest = shelf.manifest(&text);
        if shelf.texts.is_empty() {
            self.0.remove(&key);
        }
        manifest
    }

    pub(super) fn get(&self, object: &ObjectRef) -> Option<Manifest> {
        let shelf = self.0.get(&shelf(object))?;
        shelf.manifest(shelf.texts.get(object.name.as_bytes())?)
    }

    pub(super) fn manifests(&self) -> impl Iterator<Item = Manifest> {
        self.0.values().flat_map(|shelf| shelf.texts.iter().filter_map(|text| shelf.manifest(text)))
    }
}

impl Shelf {
    fn manifest(&self, text: &Text) -> Option<Manifest> {
        let json = decompress_size_prepended_with_dict(text.compressed(), &self.pattern)
            .inspect_err(|error| tracing::error!(%error, "a kept object"))
            .ok()?;
        (self.read)(&json)
    }
}

impl Text {
    fn new(name: &str, compressed: &[u8]) -> Self {
        // No object is that large: it came in one piece of JSON.
        let length = u32::try_from(name.len()).unwrap_or(0).to_ne_bytes();
        Self([&length[..], name.as_bytes(), compressed].concat().into_boxed_slice())
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let (length, rest) = self.0.split_first_chunk::<LENGTH>().unwrap_or((&[0; LENGTH], &[]));
        rest.split_at_checked(u32::from_ne_bytes(*length) as usize).unwrap_or_default()
    }

    fn compressed(&self) -> &[u8] {
        self.parts().1
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.parts().0
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().0.cmp(other.parts().0)
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Text {}

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
        let taken: usize = kept.0.values().flat_map(|shelf| &shelf.texts).map(|text| text.0.len()).sum();
        assert!(taken * 5 < plain, "{taken} of {plain} bytes");
    }
}
