//! What is known of one kind: from lists and events to what they change. Knows no client and no clock.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
};

use super::wanted::{Cut, Wanted};
use crate::{
    model::{Name, Problem},
    source::{
        SourceEvent,
        read_object::{Read, read_object},
    },
};

/// Where objects of an API server come from, in problems.
pub const ORIGIN: &str = "kubernetes";

/// The objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// Versions of those that have been told, by [`key`].
    known: HashMap<Box<str>, Known>,
    /// What is in the list that is being read, by [`key`].
    listed: HashSet<Box<str>>,
    uids: RandomState,
    /// What is wrong with objects that could be read or not.
    problems: BTreeMap<Name, Vec<Problem>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    /// Hash of `metadata.uid`. Of two objects that had one name one after the other it is the same once in 2^64 times.
    uid: u64,
    version: u64,
}

/// What became of a list that has been read to its end.
#[derive(Debug, PartialEq)]
pub(super) enum Listed {
    /// What was known and not in it is gone.
    Gone(Vec<SourceEvent>),
    /// It is empty and so many objects were known: a server that has lost its data for a moment says the same. Nothing is
    /// taken to be gone.
    Doubtful(usize),
}

impl Collection {
    /// A list begins. It is believed in all that it says, also of versions: a server may have been set back.
    pub(super) fn begin(&mut self) {
        self.listed.clear();
    }

    /// An item of the list.
    pub(super) fn item<W: Wanted>(&mut self, object: Cut<W>) -> Option<SourceEvent> {
        let name = name_of(&object);
        if let Some(name) = &name {
            let (key, told) = (key(name), self.version_of(&object));
            let is_known = self.known.get(&key).is_some_and(|known| *known == told && known.version != 0);
            self.listed.insert(key);
            if is_known {
                return None;
            }
        }
        self.apply(name, object)
    }

    /// The list is at its end.
    pub(super) fn end<W: Wanted>(&mut self, believe_empty: bool) -> Listed {
        if self.listed.is_empty() && !self.known.is_empty() && !believe_empty {
            return Listed::Doubtful(self.known.len());
        }
        let listed = std::mem::take(&mut self.listed);
        let gone = self.known.keys().filter(|key| !listed.contains(*key));
        let gone: Vec<Name> =
            gone.filter_map(|key| key.split_once(SLASH)).map(|(ns, name)| Name::new(ns, name)).collect();
        Listed::Gone(gone.into_iter().map(|name| self.forget::<W>(name)).collect())
    }

    /// The object has come or has changed. What is older than what is known is left out.
    pub(super) fn changed<W: Wanted>(&mut self, object: Cut<W>) -> Option<SourceEvent> {
        let name = name_of(&object);
        if name.as_ref().is_some_and(|name| self.is_older(name, &object)) {
            return None;
        }
        self.apply(name, object)
    }

    /// The object has gone.
    pub(super) fn gone<W: Wanted>(&mut self, object: &Cut<W>) -> Option<SourceEvent> {
        let name = name_of(object)?;
        if self.is_older(&name, object) || !self.known.contains_key(&key(&name)) {
            return None;
        }
        Some(self.forget::<W>(name))
    }

    /// Everything that is wrong with objects of the kind.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    fn is_older<W: Wanted>(&self, name: &Name, object: &Cut<W>) -> bool {
        let told = self.version_of(object);
        self.known.get(&key(name)).is_some_and(|known| known.uid == told.uid && told.version < known.version)
    }

    fn apply<W: Wanted>(&mut self, name: Option<Name>, object: Cut<W>) -> Option<SourceEvent> {
        if let Some(name) = &name {
            let told = self.version_of(&object);
            self.known.insert(key(name), told);
        }
        let (event, problems) = match read_object(object.value, ORIGIN) {
            Read::Object(_, manifest, problems) => {
                (Some(SourceEvent::Apply { manifest: *manifest, origin: ORIGIN.to_owned() }), problems)
            }
            Read::Unreadable(_, problem) => (None, vec![problem]),
            Read::Ignored(_) => (None, Vec::new()),
        };
        // One without a name takes the place of whatever else has none.
        let name = name.unwrap_or_else(|| Name::new("", ""));
        if problems.is_empty() {
            self.problems.remove(&name);
        } else {
            self.problems.insert(name, problems);
        }
        event
    }

    fn version_of<W: Wanted>(&self, object: &Cut<W>) -> Known {
        Known { uid: self.uids.hash_one(object.uid()), version: object.version() }
    }

    fn forget<W: Wanted>(&mut self, name: Name) -> SourceEvent {
        self.known.remove(&key(&name));
        self.problems.remove(&name);
        SourceEvent::Delete(name.of_kind(W::KIND))
    }
}

/// Between the parts of a [`key`]. No namespace has one.
const SLASH: char = '/';

/// One short text for a name: there is one of them for each object of the cluster.
fn key(Name { namespace, name }: &Name) -> Box<str> {
    format!("{namespace}{SLASH}{name}").into_boxed_str()
}

fn name_of<W: Wanted>(object: &Cut<W>) -> Option<Name> {
    object.name().map(|name| Name::new(object.namespace(), name))
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
