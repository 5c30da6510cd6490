//! Lists, in pages where they are asked for.

use std::sync::Arc;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{ApiServer, query::Query, resource::Resource, status::Status};

/// The rest of a list that is read in pages.
#[derive(Debug)]
pub(super) struct Rest {
    version: u64,
    items: Vec<Arc<Value>>,
}

impl ApiServer {
    pub(super) fn list(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
        query: &Query,
    ) -> Result<Response, Status> {
        let Rest { version, mut items } = if query.continue_token.is_empty() {
            let store = self.store();
            query.reached(store.version())?;
            let items = if self.faults().empty { Vec::new() } else { store.list(resource, namespace) };
            Rest { version: store.version(), items }
        } else {
            self.take_rest(&query.continue_token)?
        };
        if let Some(name) = query.name()? {
            items.retain(|object| object["metadata"]["name"] == name);
        }
        let rest = items
            .split_off(query.limit.filter(|limit| *limit > 0).map_or(items.len(), |l| l.min(items.len())));
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if !rest.is_empty() {
            metadata["remainingItemCount"] = json!(rest.len());
            metadata["continue"] = json!(self.keep_rest(Rest { version, items: rest }));
        }
        // The items of a list do not say what they are.
        let items = items.iter().map(|object| {
            let mut object = Value::clone(object);
            if let Some(fields) = object.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            object
        });
        let list = json!({"kind": format!("{}List", resource.kind), "apiVersion": resource.api_version,
            "metadata": metadata, "items": items.collect::<Vec<_>>()});
        Ok(Json(list).into_response())
    }

    fn keep_rest(&self, rest: Rest) -> String {
        let mut pages = self.pages();
        pages.0 += 1;
        let token = format!("page-{}", pages.0);
        pages.1.insert(token.clone(), rest);
        token
    }

    fn take_rest(&self, token: &str) -> Result<Rest, Status> {
        let rest = self.pages().1.remove(token);
        rest.ok_or_else(|| Status::new(410, "Expired", "The provided continue parameter is too old"))
    }
}
