//! A document's value → an object in the API's types, and what is wrong with it.

use k8s_openapi::{Resource, api::networking::v1::NetworkPolicy};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    closed_policy::closed_policy,
    kind::{Kind, TypeMeta},
    unknown_field::with_unknown_fields,
};
use crate::model::{Level, Manifest, ObjectRef, Problem};

/// What became of one object.
#[derive(Debug)]
pub(super) enum Read {
    /// It is one of ours, with whatever is wrong with it.
    Object(ObjectRef, Box<Manifest>, Vec<Problem>),
    /// It is one of ours, and nothing can be made of it. The name is there if it could be read.
    Unreadable(Option<ObjectRef>, Problem),
    /// netpol does not read this kind.
    Ignored(TypeMeta),
}

/// Reads one object; `origin` is what its problems name.
pub(super) fn read_object(mut value: Value, origin: &str) -> Read {
    let problem = |object: Option<ObjectRef>, field: &str, message: String| Problem {
        level: Level::Error,
        origin: origin.to_owned(),
        object,
        field: field.to_owned(),
        message,
    };
    if !value.is_object() {
        let message = "is no Kubernetes object: a mapping with apiVersion and kind is expected; ignored";
        return Read::Unreadable(None, problem(None, "", message.to_owned()));
    }
    let meta = match TypeMeta::of(&value) {
        Ok(meta) => meta,
        Err(field) => {
            let message = "is missing or no text, so this is no Kubernetes object; ignored".to_owned();
            return Read::Unreadable(None, problem(None, field, message));
        }
    };
    let Some(kind) = Kind::of(&meta) else { return Read::Ignored(meta) };
    let object = match name(&mut value, kind, &meta) {
        Ok(object) => object,
        Err(field) => {
            let message = format!("is missing or no text, so this {} has no name; ignored", meta.kind);
            return Read::Unreadable(None, problem(None, field, message));
        }
    };
    let typed = match kind {
        Kind::Namespace => typed(&value).map(|(o, unknown)| (Manifest::Namespace(Box::new(o)), unknown)),
        Kind::Node => typed(&value).map(|(o, unknown)| (Manifest::Node(Box::new(o)), unknown)),
        Kind::Pod => typed(&value).map(|(o, unknown)| (Manifest::Pod(Box::new(o)), unknown)),
        Kind::Service => typed(&value).map(|(o, unknown)| (Manifest::Service(Box::new(o)), unknown)),
        Kind::EndpointSlice => {
            typed(&value).map(|(o, unknown)| (Manifest::EndpointSlice(Box::new(o)), unknown))
        }
        Kind::ServiceCidr => typed(&value).map(|(o, unknown)| (Manifest::ServiceCidr(Box::new(o)), unknown)),
        Kind::NetworkPolicy => return read_policy(&value, object, origin),
    };
    match typed {
        Ok((manifest, unknown)) => {
            let unknown = unknown.into_iter();
            let problems = unknown.map(|field| ignored_field(origin, &object, field)).collect();
            Read::Object(object, Box::new(manifest), problems)
        }
        Err(Mismatch { field, message }) => {
            let message =
                format!("{message}; the object is not used, an earlier version of it stays in force");
            Read::Unreadable(Some(object.clone()), problem(Some(object), &field, message))
        }
    }
}

/// A policy isolates what it selects even if it cannot be read as written.
fn read_policy(value: &Value, object: ObjectRef, origin: &str) -> Read {
    let (manifest, faults, ignored) = match typed::<NetworkPolicy>(value) {
        Err(Mismatch { field, message }) => (None, vec![(field, message)], Vec::new()),
        Ok((policy, unknown)) => {
            let manifest = Manifest::NetworkPolicy(Box::new(policy));
            // A misspelt `ports` would open every port.
            let (faults, ignored): (Vec<_>, Vec<_>) =
                unknown.into_iter().partition(|field| field.starts_with("spec"));
            let faults = faults.into_iter().map(|field| (field, "no such field".to_owned())).collect();
            (Some(manifest), faults, ignored)
        }
    };
    let mut problems: Vec<Problem> =
        ignored.into_iter().map(|field| ignored_field(origin, &object, field)).collect();
    let manifest = match manifest {
        Some(manifest) if faults.is_empty() => manifest,
        _ => {
            let (policy, whom) = closed_policy(value, &object);
            problems.extend(faults.into_iter().map(|(field, why)| Problem {
                level: Level::Error,
                origin: origin.to_owned(),
                object: Some(object.clone()),
                field,
                message: format!("{why}; until this is mended the policy allows nothing and isolates {whom}"),
            }));
            Manifest::NetworkPolicy(Box::new(policy))
        }
    };
    Read::Object(object, Box::new(manifest), problems)
}

/// Outside of a policy's rules an unknown field opens nothing.
fn ignored_field(origin: &str, object: &ObjectRef, field: String) -> Problem {
    let level = if field.starts_with("spec") { Level::Error } else { Level::Note };
    let message = "no such field: ignored".to_owned();
    Problem { level, origin: origin.to_owned(), object: Some(object.clone()), field, message }
}

/// Names the object, and writes the namespace into it: `default` where there is none. `Err` names the missing field.
fn name(value: &mut Value, kind: Kind, meta: &TypeMeta) -> Result<ObjectRef, &'static str> {
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut).ok_or("metadata")?;
    let text =
        |value: Option<&Value>| value.and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    let name = text(metadata.get("name")).ok_or("metadata.name")?;
    let namespace = if !kind.namespaced() {
        metadata.remove("namespace");
        String::new()
    } else if metadata.get("namespace").is_none_or(|n| n.is_null() || n == "") {
        metadata.insert("namespace".to_owned(), "default".into());
        "default".to_owned()
    } else {
        text(metadata.get("namespace")).ok_or("metadata.namespace")?
    };
    Ok(ObjectRef { kind: meta.kind.clone(), namespace, name })
}

/// A field that does not have the type that the API gives it.
struct Mismatch {
    field: String,
    message: String,
}

/// The object in the API's type, and the paths of the fields that it does not have.
fn typed<T: Resource + DeserializeOwned>(value: &Value) -> Result<(T, Vec<String>), Mismatch> {
    if value["apiVersion"] != T::API_VERSION {
        let message = format!("{} is read in version {} only", T::KIND, T::API_VERSION);
        return Err(Mismatch { field: "apiVersion".to_owned(), message });
    }
    match with_unknown_fields(value) {
        Ok(read) => Ok(read),
        // Reading it once more tells where it is wrong.
        Err(error) => match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(_) => Err(Mismatch { field: String::new(), message: error.to_string() }),
            Err(error) => {
                let path = error.path().to_string();
                let field = if path == "." { String::new() } else { path };
                Err(Mismatch { field, message: error.into_inner().to_string() })
            }
        },
    }
}

#[cfg(test)]
#[path = "read_object_tests.rs"]
mod tests;
