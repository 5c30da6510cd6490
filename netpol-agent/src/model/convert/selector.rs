use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1;

use crate::{
    few::Few,
    model::{LabelSelector, Requirement, Test},
};

/// Why a selector has no meaning: the field below it, and what is wrong there.
pub(super) struct Unreadable {
    pub(super) field: String,
    pub(super) message: String,
}

pub(super) fn selector(object: &v1::LabelSelector) -> Result<LabelSelector, Unreadable> {
    let mut requirements = Vec::new();
    for (key, value) in object.match_labels.iter().flatten() {
        if key.is_empty() {
            let (field, message) = ("matchLabels".to_owned(), "a label without a key".to_owned());
            return Err(Unreadable { field, message });
        }
        let test = Test::In(Few::from([value.clone()]));
        requirements.push(Requirement { key: key.clone(), test });
    }
    for (i, expression) in object.match_expressions.iter().flatten().enumerate() {
        let values: Few<String> = expression.values.iter().flatten().cloned().collect();
        let unreadable = |below: &str, message: String| Unreadable {
            field: format!("matchExpressions[{i}].{below}"),
            message,
        };
        // The typed form holds an empty one where it is missing: no pod has such a label, every pod lacks it.
        if expression.key.is_empty() {
            return Err(unreadable("key", "is missing or empty".to_owned()));
        }
        let operator = expression.operator.as_str();
        let test = match operator {
            "In" | "NotIn" if values.is_empty() => {
                return Err(unreadable("values", format!("{operator} needs values")));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                return Err(unreadable("values", format!("{operator} takes no values")));
            }
            "In" => Test::In(values),
            "NotIn" => Test::NotIn(values),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            other => {
                return Err(unreadable(
                    "operator",
                    format!("{other:?} is none of In, NotIn, Exists and DoesNotExist"),
                ));
            }
        };
        requirements.push(Requirement { key: expression.key.clone(), test });
    }
    Ok(LabelSelector { requirements: Arc::new(requirements.into_iter().collect()) })
}
