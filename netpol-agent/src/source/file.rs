//! A file's text → the objects in it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use serde_json::Value;

use super::{
    document::{Syntax, documents},
    kind::TypeMeta,
    read_object::{Read, read_object},
};
use crate::model::{Level, Manifest, ObjectRef, Problem};

/// What a file holds, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The objects that are used.
    pub(super) objects: BTreeMap<ObjectRef, Held>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// Objects of kinds that netpol does not read.
    pub(super) ignored: Vec<TypeMeta>,
    /// A part of the file could not be read, and it is not known which objects stand there.
    incomplete: bool,
    /// Objects that stand in the file but could not be read.
    unreadable: Vec<ObjectRef>,
}

/// An object in a file.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The object.
    pub(super) manifest: Arc<Manifest>,
    /// It is from an earlier version of the file, because the file as it is now cannot be read there.
    pub(super) kept: bool,
}

impl File {
    /// Reads the text of the file called `path`.
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let syntax = if path.ends_with(".json") { Syntax::Json } else { Syntax::Yaml };
        let documents = documents(text, syntax);
        let mut file = Self::default();
        let several = documents.len() > 1;
        for document in documents {
            let origin =
                if several { format!("{path}, document {}", document.number) } else { path.to_owned() };
            match document.value {
                Ok(value) => file.take(value, &origin),
                Err(e) => {
                    file.incomplete = true;
                    file.problems.push(problem(&origin, None, &e.place, e.message));
                }
            }
        }
        file
    }

    /// A file that is there but cannot be read at all.
    pub(super) fn unreadable(path: &str, why: &str) -> Self {
        let problems = vec![problem(path, None, "", format!("cannot be read: {why}"))];
        Self { problems, incomplete: true, ..Self::default() }
    }

    /// Objects of the version before stay where this version cannot be read.
    pub(super) fn keep_from(&mut self, before: Self) {
        for (object, held) in before.objects {
            let kept = self.incomplete || self.unreadable.contains(&object);
            if kept && !self.objects.contains_key(&object) {
                self.objects.insert(object, Held { kept: true, ..held });
            }
        }
    }

    fn take(&mut self, value: Value, origin: &str) {
        match items(value) {
            Ok(items) => items.into_iter().for_each(|item| self.take(item, origin)),
            Err(value) => match read_object(value, origin) {
                Read::Ignored(meta) => self.ignored.push(meta),
                Read::Unreadable(object, problem) => {
                    self.problems.push(problem);
                    self.incomplete |= object.is_none();
                    self.unreadable.extend(object);
                }
                Read::Object(object, manifest, problems) => {
                    self.problems.extend(problems);
                    match self.objects.entry(object) {
                        Entry::Vacant(free) => {
                            free.insert(Held { manifest: Arc::new(*manifest), kept: false });
                        }
                        Entry::Occupied(first) => {
                            let message = "stands in this file more than once; the first one is used";
                            let object = Some(first.key().clone());
                            self.problems.push(problem(origin, object, "", message.to_owned()));
                        }
                    }
                }
            },
        }
    }
}

/// The items of a list (`kind: List`, or `PodList` and the like, whose items need not say what they are), or the value
/// itself if it is none.
fn items(mut value: Value) -> Result<Vec<Value>, Value> {
    let Ok(meta) = TypeMeta::of(&value) else { return Err(value) };
    let Some(kind) = meta.list_of() else { return Err(value) };
    let Some(Value::Array(mut items)) = value.get_mut("items").map(Value::take) else { return Err(value) };
    for item in items.iter_mut().filter_map(Value::as_object_mut).filter(|_| !kind.is_empty()) {
        item.entry("kind").or_insert_with(|| kind.into());
        item.entry("apiVersion").or_insert_with(|| meta.api_version.as_str().into());
    }
    Ok(items)
}

fn problem(origin: &str, object: Option<ObjectRef>, field: &str, message: String) -> Problem {
    Problem { level: Level::Error, origin: origin.to_owned(), object, field: field.to_owned(), message }
}
