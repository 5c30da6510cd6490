use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Why a selector means nothing: the field below the selector, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InvalidSelector {
    pub(super) field: String,
    pub(super) message: String,
}

/// Whether the labels satisfy every requirement. An empty selector matches everything.
///
/// # Errors
/// If a requirement has no meaning; such a selector matches nothing.
pub(crate) fn selects(
    selector: &LabelSelector,
    labels: &BTreeMap<String, String>,
) -> Result<bool, InvalidSelector> {
    if selector.match_labels.iter().flatten().any(|(key, _)| key.is_empty()) {
        return Err(InvalidSelector { field: "matchLabels".into(), message: "a key is empty".into() });
    }
    let mut all = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        // Looked at even if another requirement failed: an invalid selector is invalid for every label set.
        all &= satisfies(requirement, labels)
            .map_err(|message| InvalidSelector { field: format!("matchExpressions[{i}]"), message })?;
    }
    Ok(all)
}

fn satisfies(
    requirement: &LabelSelectorRequirement,
    labels: &BTreeMap<String, String>,
) -> Result<bool, String> {
    if requirement.key.is_empty() {
        return Err("it needs a key".into());
    }
    let value = labels.get(&requirement.key);
    let listed = requirement.values.clone().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" if listed.is_empty() => Err(format!("{} needs values", requirement.operator)),
        "Exists" | "DoesNotExist" if !listed.is_empty() => {
            Err(format!("{} takes no values", requirement.operator))
        }
        "In" => Ok(value.is_some_and(|value| listed.contains(value))),
        "NotIn" => Ok(!value.is_some_and(|value| listed.contains(value))),
        "Exists" => Ok(value.is_some()),
        "DoesNotExist" => Ok(value.is_none()),
        other => Err(format!("{other:?} is no operator")),
    }
}
