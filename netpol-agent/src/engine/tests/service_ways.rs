//! The addresses that a Service is reached under.

use netpol_common::{
    net::proto,
    service::{ServiceRow, flags},
};

use super::{Bed, WayIn, ip, normal_form, pod};
use crate::{
    dataplane::Frontend,
    index::{NodePortAddresses, ServiceSettings},
};

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node1}, status: {addresses: [\
    {type: ExternalIP, address: 198.51.100.1}, {type: InternalIP, address: 172.18.0.1}, \
    {type: InternalIP, address: 172.19.0.1}, {type: InternalIP, address: 'fd00:172::1'}]}}\n---\n";

/// Two pods elsewhere, none here.
fn bed() -> Bed {
    let mut bed = Bed::new();
    let web = |name: &str, last: u8| {
        let addresses = [format!("10.0.1.{last}"), format!("fd00:1::{last}")];
        pod(
            &format!("shop/{name}"),
            "node2",
            "{app: web}",
            &[addresses[0].as_str(), addresses[1].as_str()],
            "",
        )
    };
    bed.apply(&(NODE.to_owned() + &web("web-1", 1) + &web("web-2", 2)));
    bed
}

fn service(spec: &str, status: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: web}}, spec: {{selector: {{app: web}}, {spec}}}, \
         status: {status}}}\n---\n"
    )
}

fn way(bed: &Bed, addr: &str, port: u16) -> Option<WayIn> {
    way_of(bed, addr, port, proto::TCP)
}

fn way_of(bed: &Bed, addr: &str, port: u16, proto: u8) -> Option<WayIn> {
    normal_form(&bed.fake).1.remove(&Frontend { addr: ip(addr), port, proto })
}

/// Addresses and ports that are served, whole addresses aside.
fn served(bed: &Bed) -> Vec<String> {
    let ports = bed.fake.rows().frontends.keys().filter(|f| f.port > 0);
    ports.map(|f| format!("{} {}", f.addr, f.port)).collect()
}

const NODE_PORT: &str =
    "type: NodePort, clusterIPs: [10.96.0.1, 'fd00:96::1'], ports: [{port: 80, nodePort: 30080}]";

#[test]
fn node_ports_are_served_under_the_nodes_first_addresses_or_those_that_were_asked_for() {
    let mut bed = bed();
    bed.apply(&service(NODE_PORT, "{}"));
    let cluster = ["10.96.0.1 80", "fd00:96::1 80"];
    let all = |more: &[&str]| {
        let mut all: Vec<String> = cluster.iter().chain(more).map(|s| (*s).to_owned()).collect();
        all.sort_by_key(|text| text.split(' ').next().map(ip));
        all
    };
    assert_eq!(served(&bed), all(&["172.18.0.1 30080", "fd00:172::1 30080"]));
    let within = |nets: &[&str]| ServiceSettings {
        node_ports: NodePortAddresses::Within(nets.iter().map(|net| net.parse().expect("a net")).collect()),
        ..ServiceSettings::default()
    };
    bed.engine.configure(within(&["172.16.0.0/12", "198.51.100.0/24"]));
    bed.settle();
    assert_eq!(served(&bed), all(&["172.18.0.1 30080", "172.19.0.1 30080", "198.51.100.1 30080"]));
    bed.apply(&NODE.replace("172.19.0.1", "172.19.0.2"));
    assert_eq!(served(&bed), all(&["172.18.0.1 30080", "172.19.0.2 30080", "198.51.100.1 30080"]));
    bed.delete("Node", "", "node1");
    assert_eq!(served(&bed), all(&[]));
}

#[test]
fn a_type_that_changes_takes_its_ways_in_along() {
    let mut bed = bed();
    bed.apply(&service(NODE_PORT, "{}"));
    assert!(way(&bed, "172.18.0.1", 30080).is_some());
    bed.apply(&service(&NODE_PORT.replace("NodePort, ", "ClusterIP, "), "{}"));
    assert_eq!(served(&bed), ["10.96.0.1 80", "fd00:96::1 80"]);
    bed.apply(&service("type: ExternalName, externalName: example.org, ports: [{port: 80}]", "{}"));
    assert!(bed.fake.rows().frontends.is_empty());
    bed.apply(&service(&NODE_PORT.replace(", nodePort: 30080", ""), "{}"));
    assert_eq!(served(&bed), ["10.96.0.1 80", "fd00:96::1 80"], "no node port was given out");
    // Labels hand it to another proxy and back.
    let foreign = service(NODE_PORT, "{}")
        .replace("name: web}", "name: web, labels: {service.kubernetes.io/service-proxy-name: x}}");
    bed.apply(&foreign);
    assert!(bed.fake.rows().frontends.is_empty());
    bed.apply(&service(NODE_PORT, "{}"));
    assert_eq!(served(&bed).len(), 4);
}

#[test]
fn an_external_policy_of_local_is_for_clients_from_outside_alone() {
    let mut bed = bed();
    let local = format!("{NODE_PORT}, externalTrafficPolicy: Local");
    bed.apply(&service(&local, "{}"));
    let node = way(&bed, "172.18.0.1", 30080).expect("a node port");
    assert_eq!((node.near.0, node.near.2.len()), (0, 2), "clients in the cluster get all backends");
    assert_eq!((node.far.1, node.far.2.len()), (ServiceRow::DROP, 0), "dropped: others have backends");
    assert_eq!(node.flags, flags::EXTERNAL | flags::KEEP_SOURCE);
    let cluster = way(&bed, "10.96.0.1", 80).expect("a cluster address");
    assert_eq!((cluster.far.2.len(), cluster.flags), (2, 0));
    let svcs: Vec<u32> =
        bed.fake.rows().frontends.values().filter(|r| r.svc != u32::MAX).map(|r| r.svc).collect();
    assert_eq!(
        svcs.iter().collect::<std::collections::BTreeSet<_>>().len(),
        2,
        "one number per family: {svcs:?}"
    );
    bed.apply(&pod("shop/web-3", "node1", "{app: web}", &["10.0.0.10"], ""));
    let node = way(&bed, "172.18.0.1", 30080).expect("a node port");
    assert_eq!((node.near.0, node.near.2.len(), node.far.2.len()), (1, 3, 1));
    bed.apply(&service(&format!("{local}, internalTrafficPolicy: Local"), "{}"));
    assert_eq!(way(&bed, "10.96.0.1", 80).expect("a cluster address").near.2.len(), 1);
    assert_eq!(way(&bed, "172.18.0.1", 30080).expect("a node port").near.2.len(), 3);
}

const BALANCER: &str = "type: LoadBalancer, clusterIPs: [10.96.0.1, 'fd00:96::1'], ports: [{port: 80}]";
const INGRESS: &str = "{loadBalancer: {ingress: [{ip: 203.0.113.1}, {ip: '2001:db8:1::1', ipMode: VIP}, \
                       {ip: 203.0.113.2, ipMode: Proxy}, {hostname: lb.example.org}]}}";

#[test]
fn load_balancers_are_served_unless_they_are_proxies() {
    let mut bed = bed();
    bed.apply(&service(BALANCER, INGRESS));
    assert_eq!(served(&bed), ["10.96.0.1 80", "203.0.113.1 80", "2001:db8:1::1 80", "fd00:96::1 80"]);
    let whole: Vec<_> = bed.fake.rows().frontends.keys().filter(|f| f.port == 0).map(|f| f.addr).collect();
    assert_eq!(
        whole,
        [ip("10.96.0.1"), ip("fd00:96::1")],
        "other ports of other addresses are not the Service's"
    );
    bed.apply(&service(&BALANCER.replace("[10.96.0.1, 'fd00:96::1']", "[10.96.0.1]"), INGRESS));
    assert_eq!(served(&bed), ["10.96.0.1 80", "203.0.113.1 80"], "a Service of one family");
}

#[test]
fn source_ranges_are_per_family_and_for_the_load_balancer_alone() {
    let mut bed = bed();
    let with = |ranges: &str| {
        let spec = format!("{BALANCER}, externalIPs: [192.0.2.7], loadBalancerSourceRanges: {ranges}");
        service(&spec.replace("{port: 80}", "{port: 80, nodePort: 30080}"), INGRESS)
    };
    bed.engine.configure(ServiceSettings { external_ips: true, ..ServiceSettings::default() });
    let ranges = |bed: &Bed, addr: &str| {
        let way = way(bed, addr, 80).expect("a load balancer");
        let ranges: Vec<String> = way.ranges.iter().map(ToString::to_string).collect();
        (way.flags & flags::SOURCE_RANGES != 0).then_some(ranges)
    };
    let lists = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<String>>());
    for (given, four, six) in [
        ("[]", None, None),
        ("[' 192.0.2.77/24 ']", lists(&["192.0.2.0/24"]), lists(&[])),
        ("[192.0.2.0/24, '2001:db8::/32']", lists(&["192.0.2.0/24"]), lists(&["2001:db8::/32"])),
        ("[0.0.0.0/0]", None, lists(&[])),
        ("[0.0.0.0/0, '::/0']", None, None),
        ("[nonsense]", lists(&[]), lists(&[])),
        ("[172.18.0.0/16]", lists(&["172.18.0.0/16", "203.0.113.1/32"]), lists(&[])),
    ] {
        bed.apply(&with(given));
        assert_eq!(ranges(&bed, "203.0.113.1"), four, "{given}: IPv4");
        assert_eq!(ranges(&bed, "2001:db8:1::1"), six, "{given}: IPv6");
        let lets_node_in = way(&bed, "203.0.113.1", 80).unwrap().flags & flags::NODE_IN_RANGES != 0;
        assert_eq!(lets_node_in, given == "[172.18.0.0/16]", "{given}: the node");
        for (addr, port) in [("10.96.0.1", 80), ("172.18.0.1", 30080), ("192.0.2.7", 80)] {
            let way = way(&bed, addr, port).expect("a way in");
            assert_eq!(way.flags & flags::SOURCE_RANGES, 0, "{given}: {addr}");
        }
    }
    bed.apply(&with("[]"));
    assert!(bed.fake.rows().ranges.is_empty());
}

#[test]
fn external_addresses_are_served_only_if_asked_for_and_never_in_place_of_a_cluster_address() {
    let mut bed = bed();
    let theft = "clusterIP: 10.96.0.1, externalIPs: [192.0.2.7, 10.96.0.9], ports: [{port: 80}]";
    bed.apply(&service(theft, "{}"));
    assert_eq!(served(&bed), ["10.96.0.1 80"]);
    bed.engine.configure(ServiceSettings { external_ips: true, ..ServiceSettings::default() });
    bed.settle();
    assert_eq!(served(&bed), ["10.96.0.1 80", "10.96.0.9 80", "192.0.2.7 80"]);
    // A Service whose name comes later has the address for its own.
    bed.apply(
        "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: zzz}, spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}}",
    );
    assert_eq!(bed.backends("10.96.0.9", 80, proto::TCP), Some(vec![]));
    let problems = bed.engine.problems();
    assert!(
        problems.iter().any(|p| p.field == "spec.externalIPs" && p.message.contains("10.96.0.9 port 80"))
    );
}

#[test]
fn affinity_is_kept_in_seconds_and_sctp_keeps_its_ports() {
    let mut bed = bed();
    for (given, seconds) in [
        ("sessionAffinity: ClientIP", 10_800),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}", 60),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}", 10_800),
        ("sessionAffinity: None", 0),
    ] {
        bed.apply(&service(&format!("{given}, {NODE_PORT}"), "{}"));
        for (addr, port) in [("10.96.0.1", 80), ("172.18.0.1", 30080)] {
            let way = way(&bed, addr, port).expect("a way in");
            assert_eq!(
                (way.affinity, way.members.len()),
                (seconds, if seconds > 0 { 2 } else { 0 }),
                "{given}"
            );
        }
    }
    bed.apply(&service(
        "type: NodePort, clusterIP: 10.96.0.1, ports: [{name: a, port: 80, protocol: SCTP, nodePort: 30080}, \
         {name: b, port: 81, targetPort: 80, protocol: SCTP}, {name: c, port: 81, protocol: UDP}]",
        "{}",
    ));
    assert_eq!(way_of(&bed, "10.96.0.1", 80, proto::SCTP).expect("a port").near.2.len(), 2);
    assert_eq!(way_of(&bed, "10.96.0.1", 81, proto::SCTP), None);
    assert_eq!(way_of(&bed, "10.96.0.1", 81, proto::UDP).expect("a port").members.len(), 2);
    assert_eq!(way_of(&bed, "172.18.0.1", 30080, proto::SCTP), None);
    let fields: Vec<String> = bed.engine.problems().into_iter().map(|p| p.field).collect();
    assert_eq!(fields, ["spec.ports[0].nodePort", "spec.ports[1].targetPort"]);
}

#[test]
fn the_prefixes_of_services_come_from_all_service_cidrs() {
    let mut bed = bed();
    let cidr = |name: &str, nets: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {{name: {name}}}, spec: {{cidrs: {nets}}}}}\n---\n"
        )
    };
    let nets = |bed: &Bed| bed.fake.rows().service_nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(nets(&bed).is_empty());
    bed.apply(&(cidr("kubernetes", "[10.96.0.1/16, 'fd00:96::/112']") + &cidr("more", "[10.97.0.0/24]")));
    assert_eq!(nets(&bed), ["10.96.0.0/16", "10.97.0.0/24", "fd00:96::/112"]);
    bed.restart();
    bed.feed(&cidr("kubernetes", "[10.97.0.0/24, 10.98.0.0/33]"));
    bed.engine.synced();
    bed.settle();
    assert_eq!(nets(&bed), ["10.97.0.0/24"]);
    assert!(bed.engine.problems().iter().any(|p| p.field == "spec.cidrs[1]"));
    bed.delete("ServiceCIDR", "", "kubernetes");
    assert!(nets(&bed).is_empty());
}
