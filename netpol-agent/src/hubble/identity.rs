//! Hubble knows everybody by a number and by labels.

use std::{borrow::Cow, sync::Arc};

use sha2::{Digest, Sha256};

use crate::flow::PartyRecord;

/// Cilium's reserved identities, which Hubble prints by name.
pub(super) const HOST: u32 = 1;
pub(super) const WORLD: u32 = 2;
pub(super) const REMOTE_NODE: u32 = 6;
/// Numbers below are reserved, and those from 2²⁴ on have another scope.
const FIRST: u32 = 256;
const LAST: u32 = (1 << 24) - 1;

/// The label under which Cilium keeps a pod's namespace.
const NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// The number of an end, seen from a node. Pods of one namespace with the same labels have the same one on every node and in
/// every version; others may share it by chance (one of 16 million).
pub(super) fn of(party: &PartyRecord, node: &Arc<str>) -> u32 {
    match (&party.namespace, &party.node) {
        (Some(namespace), _) => {
            let mut hash = Sha256::new();
            hash.update(namespace.as_bytes());
            for (key, value) in party.labels.iter() {
                hash.update([0]);
                hash.update(key.as_bytes());
                hash.update([1]);
                hash.update(value.as_bytes());
            }
            let hash = hash.finalize();
            FIRST + u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % (LAST - FIRST + 1)
        }
        (None, Some(own)) if own == node => HOST,
        (None, Some(_)) => REMOTE_NODE,
        (None, None) => WORLD,
    }
}

fn reserved(identity: u32) -> &'static str {
    match identity {
        HOST => "reserved:host",
        REMOTE_NODE => "reserved:remote-node",
        _ => "reserved:world",
    }
}

/// The labels as Hubble writes them: with their source.
pub(super) fn labels(party: &PartyRecord, node: &Arc<str>) -> Vec<String> {
    let Some(namespace) = &party.namespace else { return vec![reserved(of(party, node)).to_owned()] };
    let own = party.labels.iter().map(|(key, value)| format!("k8s:{key}={value}"));
    own.chain([format!("k8s:{NAMESPACE}={namespace}")]).collect()
}

/// The value of a label that a filter names, with or without its source (`k8s:app`, `any:app`, `app`, `reserved:host`).
pub(super) fn label<'a>(party: &'a PartyRecord, node: &Arc<str>, key: &str) -> Option<&'a str> {
    let Some(namespace) = &party.namespace else {
        let reserved = reserved(of(party, node));
        let bare =
            key.strip_prefix("any:").map_or(Cow::Borrowed(key), |k| Cow::Owned(format!("reserved:{k}")));
        return (bare == reserved || reserved.strip_prefix("reserved:") == Some(key)).then_some("");
    };
    let key = ["k8s:", "any:"].iter().find_map(|source| key.strip_prefix(source)).unwrap_or(key);
    if key == NAMESPACE { Some(namespace) } else { party.labels.get(key) }
}
