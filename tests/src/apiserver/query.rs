//! The parameters of a list or watch.

use serde::Deserialize;

use super::status::Status;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Query {
    pub(super) watch: Option<String>,
    pub(super) resource_version: String,
    pub(super) resource_version_match: String,
    pub(super) send_initial_events: Option<String>,
    pub(super) allow_watch_bookmarks: Option<String>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) limit: Option<usize>,
    #[serde(rename = "continue")]
    pub(super) continue_token: String,
    pub(super) field_selector: String,
}

impl Query {
    pub(super) fn is_watch(&self) -> bool {
        is_true(self.watch.as_ref())
    }

    pub(super) fn streams_list(&self) -> bool {
        is_true(self.send_initial_events.as_ref())
    }

    pub(super) fn bookmarks(&self) -> bool {
        is_true(self.allow_watch_bookmarks.as_ref())
    }

    /// `None` where none is given. "0" means that any will do.
    pub(super) fn version(&self) -> Result<Option<u64>, Status> {
        if self.resource_version.is_empty() {
            return Ok(None);
        }
        let wrong =
            |_| Status::new(400, "BadRequest", format!("resourceVersion {:?}", self.resource_version));
        self.resource_version.parse().map(Some).map_err(wrong)
    }

    /// `metadata.name=NAME`, the only selector there is.
    pub(super) fn name(&self) -> Result<Option<&str>, Status> {
        match self.field_selector.split_once('=') {
            None if self.field_selector.is_empty() => Ok(None),
            Some(("metadata.name", name)) => Ok(Some(name)),
            _ => Err(Status::new(400, "BadRequest", format!("field selector {:?}", self.field_selector))),
        }
    }

    /// A list may be asked for in a version that the server has not reached.
    pub(super) fn reached(&self, version: u64) -> Result<(), Status> {
        match self.version()? {
            Some(wanted) if wanted > version => {
                let message = format!("Too large resource version: {wanted}, current: {version}");
                Err(Status::new(504, "Timeout", message))
            }
            _ => Ok(()),
        }
    }
}

fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|value| matches!(value.as_str(), "" | "1" | "true"))
}
