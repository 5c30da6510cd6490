use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;

use super::{resource::Resource, status::Status};

/// What clients may do, as a ClusterRole says it: whatever it does not name is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rights(BTreeSet<(String, String, String)>);

impl Rights {
    /// Of a ClusterRole; of rules that name neither groups nor resources nothing is taken.
    #[must_use]
    pub fn of_role(role: &Value) -> Self {
        let list = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| Some(text.as_str()?.to_owned()))
                .collect()
        };
        let mut rights = BTreeSet::new();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    rights.extend(
                        list(&rule["verbs"]).into_iter().map(|v| (group.clone(), resource.clone(), v)),
                    );
                }
            }
        }
        Self(rights)
    }

    /// The same without one verb for one kind (`networking.k8s.io`, `networkpolicies`, `watch`).
    ///
    /// # Panics
    /// If it is not among them.
    #[must_use]
    pub fn without(&self, group: &str, resource: &str, verb: &str) -> Self {
        let mut rest = self.clone();
        assert!(rest.0.remove(&(group.to_owned(), resource.to_owned(), verb.to_owned())), "{self:?}");
        rest
    }

    /// All of them: group, resource, verb.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().map(|(group, resource, verb)| (group.as_str(), resource.as_str(), verb.as_str()))
    }

    pub(super) fn refusal(&self, resource: &Resource, verb: &str) -> Option<Status> {
        let (group, plural) = (resource.group(), resource.plural);
        let wanted = (group.to_owned(), plural.to_owned(), verb.to_owned());
        (!self.0.contains(&wanted)).then(|| {
            let message = format!(
                "{plural} is forbidden: User \"test\" cannot {verb} resource {plural:?} in API group {group:?} at the cluster scope"
            );
            Status::new(403, "Forbidden", message)
        })
    }
}

/// What a request asks for, in the words of roles. A list that is streamed is a watch.
pub(super) fn verb(method: &Method, named: bool, is_watch: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET", true) => "get",
        ("GET", false) if is_watch => "watch",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        _ => "deletecollection",
    }
}
