use crate::model::{Level, ObjectRef, Problem};

/// Collects what is wrong with one object.
pub(super) struct Report<'a> {
    pub(super) origin: &'a str,
    pub(super) object: Option<ObjectRef>,
    pub(super) problems: Vec<Problem>,
}

impl Report<'_> {
    /// Something is not in force as written.
    pub(super) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add(Level::Error, field.into(), message.into());
    }
    /// Something is in force as written, but perhaps not as meant.
    pub(super) fn note(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add(Level::Note, field.into(), message.into());
    }
    fn add(&mut self, level: Level, field: String, message: String) {
        let (origin, object) = (self.origin.to_owned(), self.object.clone());
        self.problems.push(Problem { level, origin, object, field, message });
    }
}
