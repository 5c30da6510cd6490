//! Fields that the API does not have: misspelt ones, which the typed form silently leaves out.

use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_json::Value;

/// The typed form, and the paths of the fields in `given` that it does not know, in order. A null says nothing, whatever its key.
pub(super) fn with_unknown_fields<T: DeserializeOwned>(
    given: &Value,
) -> Result<(T, Vec<String>), serde_json::Error> {
    let mut unknown = Vec::new();
    let object = serde_ignored::deserialize(given, |path| {
        if !value_at(given, &path).is_some_and(Value::is_null) {
            let mut text = String::new();
            write(&path, &mut text);
            unknown.push(text);
        }
    })?;
    Ok((object, unknown))
}

fn value_at<'v>(given: &'v Value, path: &Path<'_>) -> Option<&'v Value> {
    match path {
        Path::Root => Some(given),
        Path::Seq { parent, index } => value_at(given, parent)?.get(index),
        Path::Map { parent, key } => value_at(given, parent)?.get(key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            value_at(given, parent)
        }
    }
}

/// As Kubernetes writes paths: `spec.ports[0].port`.
fn write(path: &Path<'_>, text: &mut String) {
    match path {
        Path::Root => {}
        Path::Seq { parent, index } => {
            write(parent, text);
            text.push_str(&format!("[{index}]"));
        }
        Path::Map { parent, key } => {
            write(parent, text);
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(key);
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            write(parent, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_found_at_every_depth_and_nulls_are_none() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "shape": {"deep": {"er": 1}}, "void": null,
            "metadata": {"name": "a", "labels": {"any": "key"}, "lables": {}},
            "spec": {"containers": [{"name": "c"}, {"name": "d", "ports": [{"containerPort": 80}, {"prot": 81, "nil": null}]}]},
        });
        let (read, unknown): (Pod, _) = with_unknown_fields(&pod).unwrap();
        assert_eq!(read.metadata.labels.unwrap()["any"], "key");
        assert_eq!(unknown, ["metadata.lables", "shape", "spec.containers[1].ports[1].prot"]);
    }
}
