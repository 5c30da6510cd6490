use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1,
};

use super::{block, mode::mode, name_of, port, report::Report, selector};
use crate::model::{LabelSelector, Namespaces, Peer, Peers, PodSelector, Policy, Ports, Rule};

pub(super) fn policy(object: &NetworkPolicy, report: &mut Report<'_>) -> Policy {
    let name = name_of(&object.metadata);
    let absent = NetworkPolicySpec::default();
    let spec = object.spec.as_ref().unwrap_or(&absent);
    if object.spec.is_none() {
        report.error("spec", "missing; the policy isolates every pod of its namespace for ingress");
    }
    let subject = spec.pod_selector.as_ref().map_or_else(|| Ok(LabelSelector::default()), selector::selector);
    let subject = subject.unwrap_or_else(|bad| {
        let message = format!("{}; the policy isolates every pod of its namespace", bad.message);
        report.error(format!("spec.podSelector.{}", bad.field), message);
        LabelSelector::default()
    });
    let (isolates_in, isolates_out) = directions(spec, report);
    let mut reader = Reader { home: &name.namespace, report };
    let ingress = isolates_in.then(|| {
        let rules = spec.ingress.iter().flatten().enumerate();
        let path = |i| format!("spec.ingress[{i}]");
        rules.map(|(i, r)| reader.rule(&path(i), "from", r.from.as_deref(), r.ports.as_deref())).collect()
    });
    let egress = isolates_out.then(|| {
        let rules = spec.egress.iter().flatten().enumerate();
        let path = |i| format!("spec.egress[{i}]");
        rules.map(|(i, r)| reader.rule(&path(i), "to", r.to.as_deref(), r.ports.as_deref())).collect()
    });
    Policy {
        mode: mode(&object.metadata, report),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        origin: report.origin.to_owned(),
        name,
        subject,
        ingress,
        egress,
    }
}

/// Whether the policy isolates for ingress, and for egress. Without `policyTypes` ingress always, egress if there are
/// egress rules.
fn directions(spec: &NetworkPolicySpec, report: &mut Report<'_>) -> (bool, bool) {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()));
    }
    let (mut isolates_in, mut isolates_out) = (false, false);
    for (i, name) in types.iter().enumerate() {
        match name.as_str() {
            "Ingress" => isolates_in = true,
            "Egress" => isolates_out = true,
            other => {
                report.error(
                    format!("spec.policyTypes[{i}]"),
                    format!(
                        "{other:?} is neither Ingress nor Egress; the policy isolates in both directions"
                    ),
                );
                (isolates_in, isolates_out) = (true, true);
            }
        }
    }
    (isolates_in, isolates_out)
}

/// A list with room for nothing else: it is kept for as long as the policy.
fn fitting<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.shrink_to_fit();
    list
}

struct Reader<'r, 'o> {
    /// The policy's namespace.
    home: &'r str,
    report: &'r mut Report<'o>,
}

impl Reader<'_, '_> {
    fn rule(
        &mut self,
        path: &str,
        peers_field: &str,
        peers: Option<&[NetworkPolicyPeer]>,
        ports: Option<&[NetworkPolicyPort]>,
    ) -> Rule {
        let peers = match peers.unwrap_or_default() {
            [] => Peers::Any,
            listed => Peers::Of(fitting(
                listed
                    .iter()
                    .enumerate()
                    .filter_map(|(i, p)| self.peer(p, &format!("{path}.{peers_field}[{i}]"))),
            )),
        };
        let ports = match ports.unwrap_or_default() {
            [] => Ports::Any,
            listed => Ports::Of(fitting(
                listed
                    .iter()
                    .enumerate()
                    .filter_map(|(i, p)| port::port(p, &format!("{path}.ports[{i}]"), self.report)),
            )),
        };
        Rule { peers, ports }
    }

    fn peer(&mut self, object: &NetworkPolicyPeer, path: &str) -> Option<Peer> {
        match (&object.ip_block, &object.namespace_selector, &object.pod_selector) {
            (Some(ip_block), None, None) => {
                block::block(ip_block, &format!("{path}.ipBlock"), self.report).map(Peer::Block)
            }
            (Some(_), ..) => {
                let message = "it excludes podSelector and namespaceSelector; the peer matches nothing";
                self.report.error(format!("{path}.ipBlock"), message);
                None
            }
            (None, None, None) => {
                let message =
                    "none of podSelector, namespaceSelector and ipBlock is set; the peer matches nothing";
                self.report.error(path, message);
                None
            }
            (None, namespaces, pods) => {
                let namespaces = match namespaces {
                    None => Some(Namespaces::Named(self.home.to_owned())),
                    Some(s) => {
                        self.selector(s, &format!("{path}.namespaceSelector")).map(Namespaces::Labelled)
                    }
                };
                let pods = match pods {
                    None => Some(LabelSelector::default()),
                    Some(s) => self.selector(s, &format!("{path}.podSelector")),
                };
                Some(Peer::Pods(PodSelector { namespaces: namespaces?, pods: pods? }))
            }
        }
    }

    fn selector(&mut self, object: &v1::LabelSelector, path: &str) -> Option<LabelSelector> {
        match selector::selector(object) {
            Ok(selector) => Some(selector),
            Err(bad) => {
                let message = format!("{}; the peer matches nothing", bad.message);
                self.report.error(format!("{path}.{}", bad.field), message);
                None
            }
        }
    }
}
