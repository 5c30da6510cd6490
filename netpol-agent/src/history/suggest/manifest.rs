use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    Rules,
    rules::{Peer, Port, Ports},
};
use crate::{flow::protocol_name, model::NAMESPACE_LABEL};

/// The object. Both directions are isolated, rules or not.
pub(super) fn policy(
    namespace: &str,
    name: String,
    labels: BTreeMap<String, String>,
    ingress: &Rules,
    egress: &Rules,
) -> NetworkPolicy {
    let ingress = ingress.rules.iter().map(|(ports, peers)| NetworkPolicyIngressRule {
        from: Some(peers.iter().map(peer).collect()),
        ports: list(ports),
    });
    let egress = egress.rules.iter().map(|(ports, peers)| NetworkPolicyEgressRule {
        to: Some(peers.iter().map(peer).collect()),
        ports: list(ports),
    });
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(labels)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: some(ingress.collect()),
            egress: some(egress.collect()),
        }),
    }
}

fn some<T>(rules: Vec<T>) -> Option<Vec<T>> {
    (!rules.is_empty()).then_some(rules)
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: (!labels.is_empty()).then_some(labels), match_expressions: None }
}

fn peer(peer: &Peer) -> NetworkPolicyPeer {
    match peer {
        Peer::Pods(namespace, labels) => NetworkPolicyPeer {
            namespace_selector: namespace
                .as_ref()
                .map(|name| selector([(NAMESPACE_LABEL.to_owned(), name.clone())].into())),
            pod_selector: (namespace.is_none() || !labels.is_empty()).then(|| selector(labels.clone())),
            ip_block: None,
        },
        Peer::Address(address) => {
            let length = match address {
                IpAddr::V4(_) => 32,
                IpAddr::V6(_) => 128,
            };
            let block = IPBlock { cidr: format!("{address}/{length}"), except: None };
            NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
        }
    }
}

fn list(ports: &Ports) -> Option<Vec<NetworkPolicyPort>> {
    let one = |port: &Port| {
        let (protocol, port) = match port {
            Port::Number(protocol, number) => (*protocol, IntOrString::Int((*number).into())),
            Port::Name(protocol, name) => (*protocol, IntOrString::String(name.clone())),
        };
        NetworkPolicyPort { protocol: Some(protocol_name(protocol)), port: Some(port), end_port: None }
    };
    ports.as_ref().map(|ports| ports.iter().map(one).collect())
}
