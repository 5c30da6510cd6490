//! Which fields of an object netpol reads. Everything else is skipped while the text is parsed and never stays in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is kept of a value. A list keeps the same of each of its items.
#[derive(Debug)]
pub(super) enum Keep {
    All,
    Fields(&'static [(&'static str, Self)]),
}

use Keep::{All, Fields};

const METADATA: Keep = Fields(&[
    ("name", All),
    ("namespace", All),
    ("uid", All),
    ("generation", All),
    ("resourceVersion", All),
    ("creationTimestamp", All),
    ("deletionTimestamp", All),
    ("labels", All),
    (
        "annotations",
        Fields(&[
            ("netpol.dev/load-balancing", All),
            ("netpol.dev/mode", All),
            ("kubernetes.io/config.mirror", All),
            ("endpoints.kubernetes.io/last-change-trigger-time", All),
        ]),
    ),
    ("ownerReferences", Fields(&[("kind", All), ("name", All), ("controller", All)])),
]);
/// With the times at which it was written, and by nobody in particular.
const METADATA_OF_POLICY: Keep = Fields(&[
    ("name", All),
    ("namespace", All),
    ("uid", All),
    ("generation", All),
    ("resourceVersion", All),
    ("creationTimestamp", All),
    ("deletionTimestamp", All),
    ("annotations", Fields(&[("netpol.dev/mode", All)])),
    ("managedFields", Fields(&[("time", All)])),
]);
/// Without the labels, of which only a few are read, and the annotations.
const METADATA_OF_NODE: Keep = Fields(&[
    ("name", All),
    ("uid", All),
    ("resourceVersion", All),
    ("deletionTimestamp", All),
    ("labels", Fields(&[("topology.kubernetes.io/zone", All)])),
]);
const CONTAINER: Keep = Fields(&[
    ("name", All),
    ("restartPolicy", All),
    ("ports", Fields(&[("name", All), ("protocol", All), ("containerPort", All)])),
]);

pub(super) const NAMESPACE: Keep = Fields(&[
    ("apiVersion", All),
    ("kind", All),
    ("metadata", METADATA),
    ("status", Fields(&[("phase", All)])),
]);
pub(super) const NODE: Keep = Fields(&[
    ("apiVersion", All),
    ("kind", All),
    ("metadata", METADATA_OF_NODE),
    ("spec", Fields(&[("taints", All)])),
    ("status", Fields(&[("addresses", All)])),
]);
pub(super) const POD: Keep = Fields(&[
    ("apiVersion", All),
    ("kind", All),
    ("metadata", METADATA),
    (
        "spec",
        Fields(&[
            ("nodeName", All),
            ("hostNetwork", All),
            ("containers", CONTAINER),
            ("initContainers", CONTAINER),
        ]),
    ),
    (
        "status",
        Fields(&[
            ("phase", All),
            ("podIP", All),
            ("podIPs", All),
            ("conditions", Fields(&[("type", All), ("status", All)])),
        ]),
    ),
]);
pub(super) const SERVICE: Keep =
    Fields(&[("apiVersion", All), ("kind", All), ("metadata", METADATA), ("spec", All), ("status", All)]);
/// A field of the specification that is new to us may narrow what is allowed, so none is left out.
pub(super) const NETWORK_POLICY: Keep =
    Fields(&[("apiVersion", All), ("kind", All), ("metadata", METADATA_OF_POLICY), ("spec", All)]);
pub(super) const ENDPOINT_SLICE: Keep = Fields(&[
    ("apiVersion", All),
    ("kind", All),
    ("metadata", METADATA),
    ("addressType", All),
    (
        "endpoints",
        Fields(&[("addresses", All), ("conditions", All), ("hints", All), ("nodeName", All), ("zone", All)]),
    ),
    ("ports", All),
]);
pub(super) const SERVICE_CIDR: Keep =
    Fields(&[("apiVersion", All), ("kind", All), ("metadata", METADATA), ("spec", All)]);

impl<'de> DeserializeSeed<'de> for &Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Keep {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let keep = match self {
                All => Some(&All),
                Fields(fields) => fields.iter().find(|(name, _)| *name == key).map(|(_, keep)| keep),
            };
            match keep {
                Some(keep) => {
                    kept.insert(key, map.next_value_seed(keep)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            kept.push(item);
        }
        Ok(Value::Array(kept))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(keep: &Keep, text: &str) -> Value {
        keep.deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap()
    }

    #[test]
    fn fields_that_are_not_read_are_left_out() {
        let pod = r#"{"kind": "Pod", "metadata": {"name": "a", "managedFields": [{"manager": "x"}]},
            "spec": {"nodeName": "n", "volumes": [{}], "containers": [
                {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80, "hostPort": 1}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "reason": "r"}]}}"#;
        let expected = json!({"kind": "Pod", "metadata": {"name": "a"},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(kept(&POD, pod), expected);
    }

    #[test]
    fn annotations_that_are_acted_on_are_kept_and_no_others() {
        let metadata = r#"{"metadata": {"annotations": {"a": "1", "kubernetes.io/config.mirror": "2",
            "endpoints.kubernetes.io/last-change-trigger-time": "3", "netpol.dev/load-balancing": "4"}}}"#;
        let expected = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "2",
            "endpoints.kubernetes.io/last-change-trigger-time": "3", "netpol.dev/load-balancing": "4"}}});
        let mode = r#"{"metadata": {"annotations": {"a": "1", "netpol.dev/mode": "audit"}}}"#;
        for keep in [&NAMESPACE, &NETWORK_POLICY] {
            assert_eq!(kept(keep, mode), json!({"metadata": {"annotations": {"netpol.dev/mode": "audit"}}}));
        }
        for keep in [&POD, &SERVICE, &ENDPOINT_SLICE] {
            assert_eq!(kept(keep, metadata), expected);
        }
        let policy = r#"{"metadata": {"managedFields": [{"manager": "m", "time": "t", "fieldsV1": {}}]}}"#;
        let expected = json!({"metadata": {"managedFields": [{"time": "t"}]}});
        assert_eq!(kept(&NETWORK_POLICY, policy), expected);
    }

    #[test]
    fn a_policys_specification_is_kept_whole() {
        let policy =
            r#"{"spec": {"podSelector": {}, "fromTheFuture": [1, -2, 0.5, null, true]}, "status": {}}"#;
        let expected = json!({"spec": {"podSelector": {}, "fromTheFuture": [1, -2, 0.5, null, true]}});
        assert_eq!(kept(&NETWORK_POLICY, policy), expected);
    }

    #[test]
    fn what_has_another_shape_than_the_api_gives_it_is_kept_as_it_is() {
        assert_eq!(kept(&POD, r#"{"spec": "none"}"#), json!({"spec": "none"}));
    }
}
