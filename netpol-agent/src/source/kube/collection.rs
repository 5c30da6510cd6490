//! What is known of one kind: from lists and events to what they change. Knows no client and no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// Versions of those that have been told.
    known: HashMap<Name, Known>,
    /// Names in the list that is being read.
    listed: HashSet<Name>,
    /// What is wrong with objects that could be read or not.
    problems: BTreeMap<Name, Vec<Problem>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    uid: Box<str>,
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
            self.listed.insert(name.clone());
            if self.known.get(name).is_some_and(|known| *known == Known::of(&object) && known.version != 0) {
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
        let gone: Vec<Name> = self.known.keys().filter(|name| !listed.contains(*name)).cloned().collect();
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
        if self.is_older(&name, object) || !self.known.contains_key(&name) {
            return None;
        }
        Some(self.forget::<W>(name))
    }

    /// Everything that is wrong with objects of the kind.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    fn is_older<W: Wanted>(&self, name: &Name, object: &Cut<W>) -> bool {
        self.known
            .get(name)
            .is_some_and(|known| *known.uid == *object.uid() && object.version() < known.version)
    }

    fn apply<W: Wanted>(&mut self, name: Option<Name>, object: Cut<W>) -> Option<SourceEvent> {
        if let Some(name) = &name {
            self.known.insert(name.clone(), Known::of(&object));
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

    fn forget<W: Wanted>(&mut self, name: Name) -> SourceEvent {
        self.known.remove(&name);
        self.problems.remove(&name);
        SourceEvent::Delete(name.of_kind(W::KIND))
    }
}

impl Known {
    fn of<W: Wanted>(object: &Cut<W>) -> Self {
        Self { uid: object.uid().into(), version: object.version() }
    }
}

fn name_of<W: Wanted>(object: &Cut<W>) -> Option<Name> {
    object.name().map(|name| Name::new(object.namespace(), name))
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
