//! Requests → answers.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query as Parameters, Request, State},
    http::{HeaderMap, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use super::{
    ApiServer,
    patch::patch,
    query::Query,
    resource::{RESOURCES, Resource},
    rights::verb,
    status::Status,
    store::Key,
};

impl ApiServer {
    pub(super) fn router(&self) -> Router {
        Router::new()
            .route(
                "/version",
                get(|| async { Json(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})) }),
            )
            .route("/readyz", get(|| async { "ok" }))
            .route("/api", get(|| async { Json(json!({"kind": "APIVersions", "versions": ["v1"]})) }))
            .route("/apis", get(|| async { Json(groups()) }))
            .route("/api/v1", get(|| async { Json(kinds("v1")) }))
            .route("/apis/{group}/{version}", get(kinds_of_group))
            .fallback(object_request)
            .layer(middleware::from_fn_with_state(self.clone(), admit))
            .with_state(self.clone())
    }
}

async fn admit(State(server): State<ApiServer>, request: Request, next: Next) -> Response {
    let faults = server.faults();
    tokio::time::sleep(faults.delay).await; // the fault that was asked for
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match faults.refusal(token.and_then(|token| token.strip_prefix("Bearer "))) {
        Some(status) => status.into_response(),
        None => next.run(request).await,
    }
}

async fn kinds_of_group(Path((group, version)): Path<(String, String)>) -> Response {
    let api_version = format!("{group}/{version}");
    if RESOURCES.iter().any(|resource| resource.api_version == api_version) {
        Json(kinds(&api_version)).into_response()
    } else {
        Status::not_found(&api_version).into_response()
    }
}

fn groups() -> Value {
    let mut versions: Vec<_> =
        RESOURCES.iter().filter(|r| !r.group().is_empty()).map(|r| r.api_version).collect();
    versions.sort_unstable();
    versions.dedup();
    let groups = versions.into_iter().map(|api_version| {
        let (name, version) = api_version.split_once('/').unwrap_or_default();
        let version = json!({"groupVersion": api_version, "version": version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    });
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}

fn kinds(api_version: &str) -> Value {
    let resources = RESOURCES.iter().filter(|r| r.api_version == api_version).map(|r| {
        let short: Vec<_> = [r.short].into_iter().filter(|short| !short.is_empty()).collect();
        json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "shortNames": short,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]})
    });
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version,
        "resources": resources.collect::<Vec<_>>()})
}

/// What a path stands for.
struct Target {
    resource: &'static Resource,
    namespace: Option<String>,
    name: Option<String>,
}

fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (api_version, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("v1".to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return None,
    };
    let (namespace, plural, name) = match rest {
        ["namespaces", namespace, plural] => (Some(*namespace), plural, None),
        ["namespaces", namespace, plural, name] => (Some(*namespace), plural, Some(*name)),
        [plural] => (None, plural, None),
        [plural, name] => (None, plural, Some(*name)),
        _ => return None,
    };
    let resource = Resource::find(&api_version, plural)?;
    Some(Target { resource, namespace: namespace.map(str::to_owned), name: name.map(str::to_owned) })
}

async fn object_request(
    State(server): State<ApiServer>,
    method: Method,
    uri: axum::http::Uri,
    Parameters(query): Parameters<Query>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(target) = target(uri.path()) else { return Status::not_found(uri.path()).into_response() };
    let verb = verb(&method, target.name.is_some(), query.is_watch());
    if let Some(status) = server.faults().refusal_of(target.resource, verb) {
        return status.into_response();
    }
    let answer = match (method.as_str(), &target.name) {
        ("GET", None) if query.is_watch() => server.watch(target.resource, target.namespace, &query),
        ("GET", None) => server.list(target.resource, target.namespace.as_deref(), &query),
        _ => one_object(&server, &method, &target, &headers, &body)
            .map(|object| Json(Value::clone(&object)).into_response()),
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

fn one_object(
    server: &ApiServer,
    method: &Method,
    target: &Target,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Arc<Value>, Status> {
    let resource = target.resource;
    let namespace = target.namespace.clone().unwrap_or_default();
    let wrong = |e: &dyn std::fmt::Display| Status::new(400, "BadRequest", e.to_string());
    let placed = |mut object: Value| {
        if resource.namespaced && !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let Some(name) = &target.name else {
        if method != Method::POST {
            return Err(Status::new(405, "MethodNotAllowed", format!("{method} of a collection")));
        }
        let object = placed(serde_json::from_slice(body).map_err(|e| wrong(&e))?);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if server.store().get(resource, &(namespace.clone(), name.clone())).is_ok() {
            let message = format!("{} {name:?} already exists", resource.plural);
            return Err(Status::new(409, "AlreadyExists", message));
        }
        return server.write(|store| store.put(resource, object));
    };
    let key: Key = (namespace.clone(), name.clone());
    match *method {
        Method::GET => server.store().get(resource, &key),
        Method::PUT => {
            let object = placed(serde_json::from_slice(body).map_err(|e| wrong(&e))?);
            server.store().get(resource, &key)?;
            server.write(|store| store.put(resource, object))
        }
        Method::PATCH => {
            let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let media_type = media_type.unwrap_or_default().to_owned();
            server.write(|store| {
                let mut object = match store.get(resource, &key) {
                    Ok(object) => Value::clone(&object),
                    Err(_) if media_type.starts_with("application/apply-patch") => Value::Null,
                    Err(status) => return Err(status),
                };
                patch(&mut object, &media_type, body)?;
                store.put(resource, placed(object))
            })
        }
        Method::DELETE => server.write(|store| store.delete(resource, &key)),
        _ => Err(Status::new(405, "MethodNotAllowed", format!("{method} of an object"))),
    }
}
