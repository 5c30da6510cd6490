//! Why a Service does not answer.

use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Finding, Severity, pod,
    select::{backends, live_in, pod_name, selector_of, service_name, slices},
    words,
};
use crate::{
    model::{Name, ObjectRef},
    oracle::{World, addresses_of, labels_of, named_ports, node_of, protocol_number, says_ready, translate},
};

/// Everything that there is to say of a Service.
pub(super) fn why(world: &World, node: &str, name: &Name) -> Option<Vec<Finding>> {
    let service = world.services.iter().find(|service| service_name(service) == *name)?;
    let mut found = endpoints(world, node, service);
    let pods = backends(world, service);
    found.extend(pods.iter().flat_map(|pod| pod::who_may_reach(world, pod)));
    if found.is_empty() {
        let reason =
            format!("nothing is wrong: it selects {}, and no policy isolates them", words::pods(pods.len()));
        found.push(Finding::new(Severity::Note, name.of_kind("Service"), reason, ""));
    }
    Some(found)
}

/// Why nobody, or not everybody, answers for it on this node.
pub(super) fn endpoints(world: &World, node: &str, service: &Service) -> Vec<Finding> {
    let about = service_name(service).of_kind("Service");
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let reason =
            format!("is a name in DNS ({}): no node balances it", spec.external_name.unwrap_or_default());
        return vec![Finding::new(Severity::Note, about, reason, "")];
    }
    let look = Look { world, node, service, about, pods: backends(world, service) };
    let mut found = look.selector();
    found.extend(look.readiness());
    found.extend(spec.ports.iter().flatten().filter_map(|entry| look.port_name(entry)));
    // What was found says why already.
    if !found.iter().any(|finding| finding.severity == Severity::Error) {
        found.extend(spec.ports.iter().flatten().filter_map(|entry| look.answers(entry)));
    }
    found
}

struct Look<'a> {
    world: &'a World,
    node: &'a str,
    service: &'a Service,
    about: ObjectRef,
    pods: Vec<&'a Pod>,
}

impl Look<'_> {
    fn find(&self, severity: Severity, reason: String, advice: &str) -> Finding {
        Finding::new(severity, &self.about, reason, advice)
    }

    fn selector(&self) -> Vec<Finding> {
        let name = service_name(self.service);
        let selector = selector_of(self.service);
        let listed: usize = slices(self.world, &name).map(|s| s.endpoints.iter().flatten().count()).sum();
        if selector.is_empty() {
            let reason = "has no endpoints: no selector, and no EndpointSlice lists any".to_owned();
            let advice =
                "give it a spec.selector, or make an EndpointSlice with the label kubernetes.io/service-name";
            return if listed == 0 { vec![self.find(Severity::Error, reason, advice)] } else { Vec::new() };
        }
        if !self.pods.is_empty() {
            return Vec::new();
        }
        let near = nearest(self.world, &name.namespace, &selector);
        let reason =
            format!("has no endpoints: no pod matches its selector {}{near}", words::labels(&selector));
        vec![self.find(Severity::Error, reason, "make spec.selector and the labels of the pods agree")]
    }

    fn readiness(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let even_unready = self.service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses);
        let waiting: Vec<&&Pod> = self.pods.iter().filter(|pod| !says_ready(pod)).collect();
        if !waiting.is_empty() && even_unready != Some(true) {
            let names = words::names(waiting.iter().map(|pod| pod_name(pod).to_string()));
            let (severity, what) = if waiting.len() == self.pods.len() {
                (Severity::Error, "has no endpoints: none of its pods is ready")
            } else {
                (Severity::Warning, "pods that it selects are not ready, and get nothing")
            };
            let advice = "see the pods' readiness probes and events: kubectl describe pod";
            found.push(self.find(severity, format!("{what}: {names}"), advice));
        }
        let without: Vec<&&Pod> = self.pods.iter().filter(|pod| addresses_of(pod).is_empty()).collect();
        if !without.is_empty() {
            let names = words::names(without.iter().map(|pod| pod_name(pod).to_string()));
            let all = without.len() == self.pods.len();
            let severity = if all { Severity::Error } else { Severity::Warning };
            found.push(self.find(
                severity,
                format!("pods that it selects have no address yet: {names}"),
                "kubectl describe pod says what they wait for",
            ));
        }
        found
    }

    /// A target port by a name that pods do not have.
    fn port_name(&self, entry: &ServicePort) -> Option<Finding> {
        let Some(IntOrString::String(name)) = &entry.target_port else { return None };
        let protocol = entry.protocol.as_deref().unwrap_or("TCP");
        let number = protocol_number(protocol)?;
        let lack = |pod: &&&Pod| named_ports(Some(pod), name, number).is_empty();
        let lacking: Vec<&&Pod> = self.pods.iter().filter(lack).collect();
        if lacking.is_empty() {
            return None;
        }
        let severity = if lacking.len() == self.pods.len() { Severity::Error } else { Severity::Warning };
        let names = words::names(lacking.iter().map(|pod| pod_name(pod).to_string()));
        let reason = format!(
            "port {} goes to the {protocol} port named {name:?}, which no container has in: {names}",
            entry.port
        );
        Some(self.find(severity, reason, "name the container's port so, or put its number into targetPort"))
    }

    /// Whether anybody answers clients of this node.
    fn answers(&self, entry: &ServicePort) -> Option<Finding> {
        let spec = self.service.spec.as_ref()?;
        let protocol = protocol_number(entry.protocol.as_deref().unwrap_or("TCP"))?;
        let port = u16::try_from(entry.port).ok()?;
        let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let address = addresses.filter_map(|text| text.parse().ok()).next()?;
        let translation = translate(self.world, self.node, address, port, protocol)?;
        if translation.backends.is_empty() {
            if spec.internal_traffic_policy.as_deref() == Some("Local") {
                let reason = format!(
                    "port {port} has no endpoint on this node, and internalTrafficPolicy: Local leaves only those: its pods are on {}",
                    self.nodes()
                );
                let advice = "run a pod of it on each node that asks (a DaemonSet), or set internalTrafficPolicy: Cluster";
                return Some(self.find(Severity::Warning, reason, advice));
            }
            let reason = format!(
                "port {port} has no endpoints: its EndpointSlices list nobody who is ready, while its selector matches {}",
                words::pods(self.pods.len())
            );
            let advice = "kubectl get endpointslices; the controller manager writes them: is it running, and is the port's name the same?";
            return Some(self.find(Severity::Error, reason, advice));
        }
        let outside = spec.external_traffic_policy.as_deref() == Some("Local");
        let here = |pod: &&&Pod| node_of(pod) == Some(self.node);
        if outside && !self.pods.is_empty() && self.pods.iter().filter(here).count() == 0 {
            let reason = format!(
                "clients outside who come by this node get no answer: externalTrafficPolicy: Local, and its pods are on {}",
                self.nodes()
            );
            let advice = "load balancers keep off this node by its health check; to answer here too, set externalTrafficPolicy: Cluster";
            return Some(self.find(Severity::Note, reason, advice));
        }
        None
    }

    fn nodes(&self) -> String {
        let mut nodes: Vec<String> =
            self.pods.iter().filter_map(|pod| node_of(pod)).map(str::to_owned).collect();
        nodes.sort();
        nodes.dedup();
        words::names(nodes.into_iter())
    }
}

/// What pods of the namespace have instead.
fn nearest(world: &World, namespace: &str, selector: &std::collections::BTreeMap<String, String>) -> String {
    let mut values: Vec<String> = Vec::new();
    for pod in live_in(world, namespace) {
        let labels = labels_of(pod);
        let other = selector.iter().filter_map(|(key, value)| {
            labels.get(key).filter(|has| *has != value).map(|has| format!("{key}={has}"))
        });
        values.extend(other);
    }
    values.sort();
    values.dedup();
    if values.is_empty() {
        let count = live_in(world, namespace).count();
        return format!("; its namespace has {}, none of which has these labels", words::pods(count));
    }
    format!("; pods of its namespace have {}", words::names(values.into_iter()))
}
