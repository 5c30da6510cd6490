//! Fields that the API does not have: misspelt ones, which the typed form silently leaves out.

use serde_json::Value;

use crate::model::Manifest;

/// Paths of the fields in `given` that the typed form does not know, in order.
pub(super) fn unknown_fields(given: &Value, manifest: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    match serde_json::to_value(manifest) {
        Ok(understood) => compare(given, &understood, &mut String::new(), &mut found),
        Err(e) => found.push(format!("(cannot be written out again: {e})")),
    }
    found
}

fn compare(given: &Value, understood: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            for (key, value) in given {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                match understood.get(key) {
                    Some(known) => compare(value, known, path, found),
                    // A null says nothing, whatever its key.
                    None if value.is_null() => {}
                    None => found.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        (Value::Array(given), Value::Array(understood)) => {
            for (i, (given, understood)) in given.iter().zip(understood).enumerate() {
                path.push_str(&format!("[{i}]"));
                compare(given, understood, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
