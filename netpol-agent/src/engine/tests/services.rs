//! Services and who answers for them.

use netpol_common::net::proto;

use super::{Bed, pod};

fn service(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {spec}}}\n---\n"
    )
}

const WEB: &str = "{clusterIPs: [10.96.0.1, 'fd00:96::1'], selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}";

/// Two web pods elsewhere and one here, each with its own number for `http`.
fn shop() -> Bed {
    let mut bed = Bed::new();
    for (name, node, addrs, port) in [
        ("shop/web-0", "node2", ["10.0.1.1", "fd00::1:1"], 8080),
        ("shop/web-1", "node1", ["10.0.0.10", "fd00::10"], 8081),
        ("shop/web-2", "node2", ["10.0.1.2", "fd00::1:2"], 8082),
    ] {
        bed.apply(&web(name, node, &addrs, port));
    }
    bed.apply(&service("web", WEB));
    bed
}

fn web(name: &str, node: &str, addrs: &[&str], port: u16) -> String {
    pod(name, node, "{app: web}", addrs, &format!("ports: [{{name: http, containerPort: {port}}}]"))
}

fn http(bed: &Bed) -> Vec<String> {
    bed.backends("10.96.0.1", 80, proto::TCP).expect("a service")
}

#[test]
fn backends_are_derived_per_family_with_each_pods_own_port_and_local_ones_first() {
    let bed = shop();
    assert_eq!(http(&bed), ["10.0.0.10:8081", "10.0.1.1:8080", "10.0.1.2:8082"]);
    let six = bed.backends("fd00:96::1", 80, proto::TCP).expect("a service");
    assert_eq!(six, ["fd00::10:8081", "fd00::1:1:8080", "fd00::1:2:8082"]);
    assert_eq!(bed.backends("10.96.0.1", 80, proto::UDP), None);
    let row = bed.fake.rows().services.values().next().expect("a row");
    assert_eq!((row.n_local(), row.n_all()), (1, 3));
}

#[test]
fn who_is_not_ready_or_about_to_end_or_without_the_port_gets_nothing() {
    let mut bed = shop();
    let unready = web("shop/web-0", "node2", &["10.0.1.1"], 8080)
        .replace("podIPs", "conditions: [{type: Ready, status: 'False'}], podIPs");
    let ending = web("shop/web-2", "node2", &["10.0.1.2"], 8082)
        .replace("name: web-2,", "name: web-2, deletionTimestamp: '2026-01-01T00:00:00Z',");
    bed.apply(&unready).apply(&ending);
    bed.apply(&pod("shop/web-3", "node2", "{app: web}", &["10.0.1.3"], ""));
    assert_eq!(http(&bed), ["10.0.0.10:8081"]);
    bed.delete("Pod", "shop", "web-1");
    assert_eq!(http(&bed), ["10.0.1.2:8082"], "nobody is ready: who is about to end and still answers");
    bed.delete("Pod", "shop", "web-2");
    assert_eq!(http(&bed), [""; 0], "the address stays the Service's, with nobody behind it");
    bed.apply(&service("web", &WEB.replace("selector", "publishNotReadyAddresses: true, selector")));
    assert_eq!(http(&bed), ["10.0.1.1:8080"]);
}

#[test]
fn slices_of_the_source_win_and_the_selector_returns_when_they_go() {
    let mut bed = shop();
    bed.apply(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {namespace: shop, name: web-x, \
         labels: {kubernetes.io/service-name: web}}, ports: [{name: http, port: 99}, {name: other, port: 1}, {name: http}], \
         endpoints: [{addresses: [10.9.0.1, 10.9.0.2]}, {addresses: [10.9.0.3], nodeName: node1, conditions: {ready: true}}, \
         {addresses: [10.9.0.4], conditions: {ready: false}}]}",
    );
    assert_eq!(http(&bed), ["10.9.0.3:99", "10.9.0.1:99"]);
    assert_eq!(bed.backends("fd00:96::1", 80, proto::TCP), Some(vec![]));
    bed.delete("EndpointSlice", "shop", "web-x");
    assert_eq!(http(&bed).len(), 3);
}

#[test]
fn an_address_listed_for_two_nodes_is_that_of_the_pod_that_is_not_about_to_end() {
    let mut bed = shop();
    bed.apply(&service("web", &WEB.replace("selector", "internalTrafficPolicy: Local, selector")));
    let slice = |here: &str, there: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{namespace: shop, name: web-x, \
             labels: {{kubernetes.io/service-name: web}}}}, ports: [{{name: http, port: 99}}], endpoints: [\
             {{addresses: [10.9.0.1], nodeName: node1, conditions: {here}}}, {{addresses: [10.9.0.1], nodeName: node2, conditions: {there}}}]}}",
        )
    };
    let (draining, silent) =
        ("{ready: false, serving: true, terminating: true}", "{ready: false, serving: false}");
    bed.apply(&slice(silent, draining));
    assert_eq!(http(&bed), [""; 0]);
    bed.apply(&slice(draining, "{ready: true}"));
    assert_eq!(http(&bed), [""; 0], "the pod that is not about to end has the address");
    bed.apply(&slice("{ready: true}", draining));
    assert_eq!(http(&bed), ["10.9.0.1:99"]);
}

#[test]
fn a_local_policy_keeps_to_the_node() {
    let mut bed = shop();
    bed.apply(&service("web", &WEB.replace("selector", "internalTrafficPolicy: Local, selector")));
    assert_eq!(http(&bed), ["10.0.0.10:8081"]);
    bed.delete("Pod", "shop", "web-1");
    assert_eq!(http(&bed), [""; 0]);
}

#[test]
fn services_without_an_address_of_their_own_are_not_served() {
    let mut bed = shop();
    for (name, spec) in [
        ("headless", "{clusterIP: None, selector: {app: web}, ports: [{port: 80}]}"),
        ("external", "{type: ExternalName, externalName: example.org, ports: [{port: 80}]}"),
    ] {
        bed.apply(&service(name, spec));
    }
    let foreign = service("foreign", "{clusterIP: 10.96.0.9, selector: {app: web}, ports: [{port: 80}]}");
    bed.apply(
        &foreign
            .replace("name: foreign", "name: foreign, labels: {service.kubernetes.io/service-proxy-name: x}"),
    );
    assert_eq!(bed.fake.rows().frontends.len(), 4, "a port and the whole address, for each family");
    assert_eq!(bed.engine.services().len(), 1);
}

#[test]
fn of_two_services_with_one_address_the_first_by_name_has_it_in_any_order() {
    let mut bed = shop();
    let other = "{clusterIP: 10.96.0.1, selector: {app: none}, ports: [{port: 80}]}";
    bed.apply(&service("zzz", other));
    assert_eq!(http(&bed).len(), 3);
    assert!(bed.engine.problems().iter().any(|p| p.message.contains("belongs to another Service")));
    bed.apply(&service("aaa", other));
    assert_eq!(http(&bed), [""; 0]);
    bed.delete("Service", "shop", "aaa").delete("Service", "shop", "zzz");
    assert_eq!(http(&bed).len(), 3);
}

#[test]
fn rows_and_ranges_come_back_after_a_grace_period_and_not_before() {
    let mut bed = shop();
    for round in 0..200 {
        // More rounds than there are rows and ranges: each must come back, and the fake refuses to write a range that is
        // in use.
        bed.apply(&service("web", &WEB.replace("10.96.0.1", &format!("10.96.0.{}", 1 + round % 2))));
        bed.apply(&web("shop/web-2", "node2", &["10.0.1.2"], 9000 + round));
    }
    assert_eq!(bed.fake.rows().frontends.len(), 4);
}

#[test]
fn hints_follow_the_zone_of_the_node_and_never_half_of_the_endpoints() {
    let mut bed = shop();
    let node = |zone: &str| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: node1, labels: {{topology.kubernetes.io/zone: {zone}}}}}}}"
        )
    };
    let slice = |name: &str, endpoints: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{namespace: shop, name: {name}, \
             labels: {{kubernetes.io/service-name: web}}}}, ports: [{{name: http, port: 99}}], endpoints: {endpoints}}}"
        )
    };
    bed.apply(&slice(
        "web-x",
        "[{addresses: [10.9.0.1], hints: {forZones: [{name: a}]}}, {addresses: [10.9.0.2], hints: {forZones: [{name: b}]}}]",
    ));
    assert_eq!(http(&bed).len(), 2, "a node without a zone");
    bed.apply(&node("a"));
    assert_eq!(http(&bed), ["10.9.0.1:99"]);
    bed.apply(&node("b"));
    assert_eq!(http(&bed), ["10.9.0.2:99"]);
    bed.apply(&slice("web-y", "[{addresses: [10.9.0.3]}]"));
    assert_eq!(http(&bed).len(), 3, "one without a hint");
    bed.delete("EndpointSlice", "shop", "web-y").delete("Node", "", "node1");
    assert_eq!(http(&bed).len(), 2);
}
