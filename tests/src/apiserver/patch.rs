//! Patches, as `kubectl apply` sends them.

use serde_json::{Map, Value};

use super::status::Status;

/// Applies a patch of the given media type to an object.
pub(super) fn patch(object: &mut Value, media_type: &str, body: &[u8]) -> Result<(), Status> {
    let wrong = |e: String| Status::new(400, "BadRequest", e);
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/apply-patch+yaml" => {
            let text = std::str::from_utf8(body).map_err(|e| wrong(e.to_string()))?;
            *object = serde_saphyr::from_str(text).map_err(|e| wrong(e.to_string()))?;
        }
        "application/merge-patch+json" => {
            merge(object, &serde_json::from_slice(body).map_err(|e| wrong(e.to_string()))?, false);
        }
        "application/strategic-merge-patch+json" => {
            merge(object, &serde_json::from_slice(body).map_err(|e| wrong(e.to_string()))?, true);
        }
        other => return Err(Status::new(415, "UnsupportedMediaType", format!("patches of type {other:?}"))),
    }
    Ok(())
}

/// RFC 7386; with `strategic`, lists that have a key are merged by it.
fn merge(target: &mut Value, patch: &Value, strategic: bool) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() || patch.get("$patch").is_some_and(|directive| directive == "replace") {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if strategic && name.starts_with('$') {
            continue;
        }
        match (value, merge_key(name)) {
            (Value::Null, _) => {
                fields.remove(name);
            }
            (Value::Array(items), Some(key)) if strategic => {
                let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, items, key);
            }
            _ => merge(fields.entry(name).or_insert(Value::Null), value, strategic),
        }
    }
}

fn merge_list(list: &mut Value, patch: &[Value], keys: &[&str]) {
    let Value::Array(list) = list else { return };
    for item in patch {
        let Some(key) = keys.iter().find(|key| item.get(**key).is_some()) else { continue };
        let at = list.iter().position(|old| old.get(*key) == item.get(*key));
        match (at, item.get("$patch").and_then(Value::as_str)) {
            (Some(at), Some("delete")) => {
                list.remove(at);
            }
            (None, Some("delete")) => {}
            (Some(at), _) => merge(&mut list[at], item, true),
            (None, _) => list.push(item.clone()),
        }
    }
}

/// What identifies the items of a list in our kinds; `None` for lists that are replaced.
fn merge_key(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "containers" | "initContainers" | "volumes" => Some(&["name"]),
        "ports" => Some(&["containerPort", "port"]),
        "podIPs" => Some(&["ip"]),
        "conditions" | "addresses" => Some(&["type"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strategic_patch_merges_by_key_and_replaces_what_has_none() {
        let mut object =
            json!({"spec": {"ports": [{"port": 80}, {"port": 81}], "ingress": [{"a": 1}], "x": 1}});
        let change = json!({"spec": {"ports": [{"port": 81, "$patch": "delete"}, {"port": 82}],
            "$setElementOrder/ports": [{"port": 80}, {"port": 82}], "ingress": [], "x": null}});
        patch(&mut object, "application/strategic-merge-patch+json", change.to_string().as_bytes()).unwrap();
        assert_eq!(object, json!({"spec": {"ports": [{"port": 80}, {"port": 82}], "ingress": []}}));
    }
}
