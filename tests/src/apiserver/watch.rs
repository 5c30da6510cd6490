//! A watch: one line of JSON for each change, until its time is over.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{ApiServer, query::Query, resource::Resource, status::Status, store::Change};

const BOOKMARK_EVERY: Duration = Duration::from_millis(500);

struct Watch {
    server: ApiServer,
    resource: &'static Resource,
    namespace: Option<String>,
    name: Option<String>,
    /// Everything up to here has been said.
    version: u64,
    lines: VecDeque<String>,
    changed: watch::Receiver<u64>,
    /// Which generation of connections this one belongs to.
    connections: watch::Receiver<u64>,
    ends: Instant,
    bookmarks: bool,
    over: bool,
}

impl ApiServer {
    pub(super) fn watch(
        &self,
        resource: &'static Resource,
        namespace: Option<String>,
        query: &Query,
    ) -> Result<Response, Status> {
        let faults = self.faults();
        if query.streams_list() && faults.no_streaming {
            let message = "sendInitialEvents: Forbidden: the WatchList feature gate is disabled";
            return Err(Status::new(422, "Invalid", message));
        }
        let streams = query.streams_list() && !faults.ignores_streaming;
        let name = query.name()?.map(str::to_owned);
        let changed = self.changed();
        let connections = self.connections();
        let mut lines = VecDeque::new();
        let version = {
            let store = self.store();
            query.reached(store.version())?;
            match query.version()? {
                Some(version) if version > 0 && !streams => {
                    store.changes(resource, version)?;
                    version
                }
                _ => {
                    if !faults.empty {
                        let objects = store.list(resource, namespace.as_deref());
                        lines.extend(
                            objects.iter().filter(|o| has_name(o, name.as_deref())).map(|o| line("ADDED", o)),
                        );
                    }
                    if streams {
                        lines.push_back(bookmark(resource, store.version(), true));
                    }
                    store.version()
                }
            }
        };
        let ends = Instant::now() + Duration::from_secs(query.timeout_seconds.unwrap_or(300));
        let watch = Watch {
            server: self.clone(),
            resource,
            namespace,
            name,
            version,
            lines,
            changed,
            connections,
            ends,
            bookmarks: query.bookmarks(),
            over: false,
        };
        let lines = stream::unfold(watch, |mut watch| async {
            let line = watch.next().await?;
            Some((Ok::<_, Infallible>(line), watch))
        });
        let response =
            Response::builder().header("content-type", "application/json").body(Body::from_stream(lines));
        response.map_err(|e| Status::new(500, "InternalError", e.to_string()))
    }
}

impl Watch {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.changed.mark_unchanged();
            self.catch_up();
            if !self.lines.is_empty() {
                continue;
            }
            let until = self.ends.min(Instant::now() + BOOKMARK_EVERY);
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                _ = self.connections.changed() => return None,
                _ = timeout_at(until, std::future::pending::<()>()) => {
                    if Instant::now() >= self.ends {
                        return None;
                    }
                    if self.bookmarks {
                        return Some(bookmark(self.resource, self.version, false));
                    }
                }
            }
        }
    }

    fn catch_up(&mut self) {
        let (version, changes) = {
            let store = self.server.store();
            (store.version(), store.changes(self.resource, self.version))
        };
        match changes {
            Ok(changes) => {
                let ours = changes.iter().filter(|change| self.is_ours(change));
                let lines: Vec<_> = ours.map(|change| line(change.what, &change.object)).collect();
                self.lines.extend(lines);
                self.version = version;
            }
            Err(status) => {
                self.lines.push_back(line("ERROR", &status.body()));
                self.over = true;
            }
        }
    }

    fn is_ours(&self, change: &Change) -> bool {
        let namespace = change.object["metadata"]["namespace"].as_str();
        let there = self.namespace.as_deref().is_none_or(|wanted| namespace == Some(wanted));
        there && has_name(&change.object, self.name.as_deref())
    }
}

fn has_name(object: &Arc<Value>, name: Option<&str>) -> bool {
    name.is_none_or(|name| object["metadata"]["name"] == name)
}

fn line(what: &str, object: &Value) -> String {
    format!("{{\"type\":\"{what}\",\"object\":{object}}}\n")
}

fn bookmark(resource: &Resource, version: u64, end_of_list: bool) -> String {
    let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": version.to_string()}});
    if end_of_list {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line("BOOKMARK", &object)
}
