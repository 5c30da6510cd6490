//! What a policy's words mean as far as they can be read: a plain reading of the API and of
//! `docs/adr/0041-unreadable-policies-isolate.md`, without the agent's code.

use std::collections::BTreeMap;

use netpol_common::direction::Direction;
use serde_json::{Map, Value};

use super::field;

type Labels = BTreeMap<String, String>;

/// A policy that has a name.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    version: &'a str,
    spec: Option<&'a Value>,
}

/// Labels that selectors can tell apart.
pub(super) fn all_labels() -> impl Iterator<Item = Labels> {
    let values = [None, Some("x"), Some("y")];
    values.into_iter().flat_map(move |a| {
        values.into_iter().map(move |b| {
            let all = [("a", a), ("b", b)].into_iter();
            all.filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
        })
    })
}

impl<'a> Expected<'a> {
    /// `None` if it is no policy, or nobody can say what it is called.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        let version = value.get("apiVersion")?.as_str()?;
        let group = version.split_once('/')?.0;
        if value.get("kind")? != "NetworkPolicy" || !["networking.k8s.io", "extensions"].contains(&group) {
            return None;
        }
        let metadata = value.get("metadata")?;
        let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let namespace = match field(metadata, "namespace") {
            None => "default",
            Some(namespace) => Some(namespace.as_str()?).filter(|name| !name.is_empty()).unwrap_or("default"),
        };
        Some(Self { namespace, name, version, spec: field(value, "spec") })
    }

    /// Whether it must isolate a pod with these labels; what cannot be read counts as widely as it can be meant.
    pub(super) fn isolates(&self, labels: &Labels, direction: Direction) -> bool {
        let Some(spec) = self.spec else { return direction == Direction::Ingress };
        let Some(fields) = spec.as_object() else { return true };
        let selected =
            field(spec, "podSelector").is_none_or(|selector| selects(selector, labels).unwrap_or(true));
        selected && concerns(fields, direction)
    }

    /// Whether everything in it is of the right type and spelt as in the API. `true` if it is not clear.
    pub(super) fn fits(&self) -> bool {
        self.version == "networking.k8s.io/v1" && self.spec.is_none_or(|spec| fits(spec, "spec"))
    }
}

fn concerns(spec: &Map<String, Value>, direction: Direction) -> bool {
    let written = |name| spec.get(name).filter(|value: &&Value| !value.is_null());
    let known = ["podSelector", "policyTypes", "ingress", "egress"];
    let misspelt = spec.iter().any(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
    match written("policyTypes") {
        None if misspelt => true,
        None => by_default(written("egress"), direction),
        Some(Value::Array(types)) if types.is_empty() => by_default(written("egress"), direction),
        Some(Value::Array(types)) => types.iter().any(|name| match name.as_str() {
            Some("Ingress") => direction == Direction::Ingress,
            Some("Egress") => direction == Direction::Egress,
            _ => true,
        }),
        Some(_) => true,
    }
}

fn by_default(egress: Option<&Value>, direction: Direction) -> bool {
    let empty = egress.is_none_or(|rules| rules.as_array().is_some_and(Vec::is_empty));
    direction == Direction::Ingress || !empty
}

/// `None`: it has no meaning.
fn selects(selector: &Value, labels: &Labels) -> Option<bool> {
    if !fits(selector, "selector") {
        return None;
    }
    let mut all = true;
    for (key, value) in field(selector, "matchLabels").and_then(Value::as_object).into_iter().flatten() {
        all &= labels.get(key).map(String::as_str) == Some(value.as_str()?);
        meant(key)?;
    }
    for test in field(selector, "matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = meant(field(test, "key")?.as_str()?)?;
        let values = field(test, "values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let value = labels.get(key).map(String::as_str);
        let listed = value.is_some() && values.iter().any(|v| v.as_str() == value);
        all &= match (field(test, "operator")?.as_str()?, values.is_empty()) {
            ("In", false) => listed,
            ("NotIn", false) => !listed,
            ("Exists", true) => value.is_some(),
            ("DoesNotExist", true) => value.is_none(),
            _ => return None,
        };
    }
    Some(all)
}

/// No label has an empty key.
fn meant(key: &str) -> Option<&str> {
    Some(key).filter(|key| !key.is_empty())
}

/// Whether a value is of a type of the API, all the way down. A null fits everywhere.
fn fits(value: &Value, kind: &str) -> bool {
    if let Some(item) = kind.strip_prefix("list of ") {
        return value.is_null() || value.as_array().is_some_and(|all| all.iter().all(|v| fits(v, item)));
    }
    let fields: &[(&str, &str)] = match kind {
        "text" => return value.is_null() || value.is_string(),
        "number" => return value.is_null() || value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        "port" => return fits(value, "text") || fits(value, "number"),
        "labels" => {
            return value.is_null()
                || value.as_object().is_some_and(|all| all.values().all(|v| fits(v, "text")));
        }
        "spec" => &[
            ("podSelector", "selector"),
            ("policyTypes", "list of text"),
            ("ingress", "list of ingress rule"),
            ("egress", "list of egress rule"),
        ],
        "ingress rule" => &[("from", "list of peer"), ("ports", "list of policy port")],
        "egress rule" => &[("to", "list of peer"), ("ports", "list of policy port")],
        "peer" => &[("podSelector", "selector"), ("namespaceSelector", "selector"), ("ipBlock", "block")],
        "block" => &[("cidr", "text"), ("except", "list of text")],
        "policy port" => &[("protocol", "text"), ("port", "port"), ("endPort", "number")],
        "selector" => &[("matchLabels", "labels"), ("matchExpressions", "list of requirement")],
        "requirement" => &[("key", "text"), ("operator", "text"), ("values", "list of text")],
        _ => unreachable!("no type is called {kind}"),
    };
    let known = |key: &str| fields.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind);
    let right =
        |(key, value): (&String, &Value)| value.is_null() || known(key).is_some_and(|kind| fits(value, kind));
    value.is_null() || value.as_object().is_some_and(|all| all.iter().all(right))
}
