use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `metadata.labels`, by key. Every pod of the cluster has some, so they are kept in one piece; clones share it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Labels(
    /// Of each label the lengths in bytes of key and value, 32 bits each, and the bytes of both.
    Arc<[u8]>,
);

/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

impl Labels {
    /// From keys and values. A text of 4 GiB or more is left out, and so is its label.
    #[must_use]
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        let mut packed = Vec::new();
        for (key, value) in labels {
            let (Ok(key_length), Ok(value_length)) = (u32::try_from(key.len()), u32::try_from(value.len()))
            else {
                continue;
            };
            packed.extend(key_length.to_ne_bytes());
            packed.extend(value_length.to_ne_bytes());
            packed.extend(key.as_bytes());
            packed.extend(value.as_bytes());
        }
        Self(packed.into())
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.packed().find(|(own, _)| *own == key.as_bytes()).map(|(_, value)| text(value))
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.packed().map(|(key, value)| (text(key), text(value)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed().count()
    }

    /// Whether all of these are among them.
    #[must_use]
    pub fn include(&self, others: &Self) -> bool {
        others.packed().all(|other| self.packed().any(|own| own == other))
    }

    /// In a map of their own.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Whether nobody else shares the memory.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn packed(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (key_length, after) = rest.split_first_chunk::<LENGTH>()?;
            let (value_length, after) = after.split_first_chunk::<LENGTH>()?;
            let (key, after) = after.split_at_checked(u32::from_ne_bytes(*key_length) as usize)?;
            let (value, after) = after.split_at_checked(u32::from_ne_bytes(*value_length) as usize)?;
            rest = after;
            Some((key, value))
        })
    }
}

/// What was text when it was packed.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.packed().cmp(other.packed())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Maps of every kind that ordering and finding could mistake for one another.
    fn maps() -> Vec<BTreeMap<String, String>> {
        let few: &[&[(&str, &str)]] = &[
            &[],
            &[("", "")],
            &[("a", "")],
            &[("", "a")],
            &[("a", "b")],
            &[("a", "bc")],
            &[("ab", "c")],
            &[("a", "b"), ("b", "a")],
            &[("a", "b"), ("c", "d"), ("app.kubernetes.io/name", "web")],
            &[("a", "\0"), ("\0", "ü")],
        ];
        few.iter().map(|labels| map(labels)).collect()
    }

    #[test]
    fn packed_labels_are_what_the_map_was() {
        for map in maps() {
            let labels = Labels::new(map.clone());
            assert_eq!(labels.to_map(), map);
            assert_eq!((labels.len(), labels.is_empty()), (map.len(), map.is_empty()));
            for key in ["", "a", "ab", "b", "c", "\0", "app.kubernetes.io/name", "none"] {
                assert_eq!(labels.get(key), map.get(key).map(String::as_str), "{key:?} in {map:?}");
            }
            let json = serde_json::to_value(&labels).unwrap();
            assert_eq!(json, serde_json::to_value(&map).unwrap());
            assert_eq!(serde_json::from_value::<Labels>(json).unwrap(), labels);
        }
    }

    #[test]
    fn packed_labels_compare_and_include_as_maps_do() {
        for (one, other) in
            maps().iter().flat_map(|one| maps().into_iter().map(move |other| (one.clone(), other)))
        {
            let [first, second] = [&one, &other].map(|map| Labels::new(map.clone()));
            assert_eq!(first.cmp(&second), one.cmp(&other), "{one:?} {other:?}");
            assert_eq!(first == second, one == other);
            let includes = other.iter().all(|(key, value)| one.get(key) == Some(value));
            assert_eq!(first.include(&second), includes, "{one:?} {other:?}");
        }
    }
}
