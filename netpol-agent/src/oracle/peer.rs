use std::collections::BTreeMap;

use k8s_openapi::{api::networking::v1::NetworkPolicyPeer, apimachinery::pkg::apis::meta::v1::LabelSelector};

use super::{
    block,
    miss::PeerMiss,
    party::End,
    selector::selects,
    world::{World, labels_of, name_of, namespace_of},
};

/// Whether a peer of a policy in `home` matches the other end; otherwise why not.
pub(super) fn matches(
    world: &World,
    peer: &NetworkPolicyPeer,
    home: &str,
    other: &End<'_>,
) -> Result<(), PeerMiss> {
    match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
        (Some(block), None, None) => block::contains(block, other.address),
        (None, None, None) => {
            Err(invalid("peer", "none of podSelector, namespaceSelector and ipBlock is set"))
        }
        (Some(_), ..) => Err(invalid("ipBlock", "it excludes podSelector and namespaceSelector")),
        (None, namespaces, pods) => {
            let Some(pod) = other.pod else { return Err(PeerMiss::NotAPod) };
            let namespace = namespace_of(pod).to_owned();
            match namespaces {
                None if namespace != home => return Err(PeerMiss::OtherNamespace { namespace }),
                Some(selector)
                    if !apply(selector, "namespaceSelector", &world.namespace_labels(&namespace))? =>
                {
                    return Err(PeerMiss::NamespaceLabels { namespace });
                }
                _ => {}
            }
            match pods {
                Some(selector) if !apply(selector, "podSelector", &labels_of(pod))? => {
                    Err(PeerMiss::PodLabels { pod: format!("{namespace}/{}", name_of(pod)) })
                }
                _ => Ok(()),
            }
        }
    }
}

fn apply(selector: &LabelSelector, field: &str, labels: &BTreeMap<String, String>) -> Result<bool, PeerMiss> {
    selects(selector, labels).map_err(|e| invalid(&format!("{field}.{}", e.field), &e.message))
}

fn invalid(field: &str, message: &str) -> PeerMiss {
    PeerMiss::Invalid { field: field.into(), message: message.into() }
}
