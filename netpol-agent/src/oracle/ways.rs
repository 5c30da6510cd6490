use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service, ServicePort, ServiceSpec};

use super::{party::Family, port::protocol_number, service::protocol_of, world::World};

/// A way into a Service, as a client within the cluster finds it.
pub(super) struct WayIn<'a> {
    pub(super) service: &'a Service,
    pub(super) entry: &'a ServicePort,
    /// Only backends of the client's node answer.
    pub(super) local: bool,
}

/// Whose address and port (host order) this is to clients on `node`: a cluster address, else a node port of that node, else a
/// load balancer's. `externalIPs` are none, since it is the agent's to decide whether they are served.
pub(super) fn find<'a>(
    world: &'a World,
    node: &str,
    address: IpAddr,
    port: u16,
    protocol: u8,
) -> Option<WayIn<'a>> {
    let ports = world.services.iter().filter_map(|service| Some((service, service.spec.as_ref()?)));
    let ports =
        ports.flat_map(|(service, spec)| spec.ports.iter().flatten().map(move |e| (service, spec, e)));
    let ports: Vec<_> =
        ports.filter(|(_, _, entry)| protocol_number(protocol_of(entry)) == Some(protocol)).collect();
    let own = |entry: &ServicePort| entry.port == i32::from(port);
    for (service, spec, entry) in &ports {
        if own(entry) && cluster_addresses(spec).any(|a| a == address) {
            let local = spec.internal_traffic_policy.as_deref() == Some("Local");
            return Some(WayIn { service, entry, local });
        }
    }
    // From within the cluster all backends answer under these, whatever the external policy says.
    let has_family =
        |spec: &ServiceSpec| cluster_addresses(spec).any(|a| Family::of(a) == Family::of(address));
    let typed = |spec: &ServiceSpec, types: &[&str]| {
        has_family(spec) && spec.type_.as_deref().is_some_and(|name| types.contains(&name))
    };
    let this = world.nodes.iter().find(|object| object.metadata.name.as_deref() == Some(node));
    let on_node = this.is_some_and(|object| first_address(object, Family::of(address)) == Some(address));
    let node_port = ports.iter().find(|(_, spec, entry)| {
        on_node && typed(spec, &["NodePort", "LoadBalancer"]) && entry.node_port == Some(i32::from(port))
    });
    let balancer = || {
        ports.iter().find(|(service, spec, entry)| {
            own(entry) && typed(spec, &["LoadBalancer"]) && is_balancers(service, address)
        })
    };
    let (service, _, entry) = node_port.or_else(balancer)?;
    Some(WayIn { service, entry, local: false })
}

fn cluster_addresses(spec: &ServiceSpec) -> impl Iterator<Item = IpAddr> {
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    listed.filter_map(|text| text.parse().ok())
}

/// Node ports are served under the first internal address of each family; an external one stands in for it.
fn first_address(node: &Node, family: Family) -> Option<IpAddr> {
    let listed = node.status.as_ref()?.addresses.as_ref()?;
    let of = |wanted: &str| {
        let texts = listed.iter().filter(|entry| entry.type_ == wanted).map(|entry| &entry.address);
        texts.filter_map(|text| text.parse::<IpAddr>().ok()).find(|a| Family::of(*a) == family)
    };
    of("InternalIP").or_else(|| of("ExternalIP"))
}

/// Behind a balancer that is a proxy, packets have another destination.
fn is_balancers(service: &Service, address: IpAddr) -> bool {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress
        .filter(|entry| entry.ip_mode.as_deref().is_none_or(|mode| mode != "Proxy"))
        .filter_map(|entry| entry.ip.as_deref()?.parse::<IpAddr>().ok())
        .any(|a| a == address)
}
