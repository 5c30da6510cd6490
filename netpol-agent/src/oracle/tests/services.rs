use netpol_common::net::proto;
use serde_json::{Value, json};

use super::{
    super::{World, translate},
    service, slice, world,
};

const VIP: &str = "10.96.0.10";

fn with_service(port: Value, selector: Value) -> World {
    let object = service(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "s"},
        "spec": {"clusterIP": VIP, "clusterIPs": [VIP, "fd00:96::10"], "ports": [port], "selector": selector}
    }));
    World { services: vec![object], ..world() }
}

fn backends(world: &World, vip: &str, port: u16, protocol: u8) -> Option<Vec<String>> {
    let found = translate(world, "n1", vip.parse().expect("an address"), port, protocol)?;
    Some(found.backends.iter().map(|b| format!("{} {}", b.address, b.port)).collect())
}

#[test]
fn the_target_port_is_a_number_a_name_or_the_port_itself() {
    let all = json!({"app": "web"});
    for (port, protocol, expected) in [
        (json!({"port": 80}), proto::TCP, "10.0.1.2 80"),
        (json!({"port": 80, "targetPort": 8080}), proto::TCP, "10.0.1.2 8080"),
        (json!({"port": 80, "targetPort": "http"}), proto::TCP, "10.0.1.2 8080"),
        (json!({"port": 80, "targetPort": "dns", "protocol": "UDP"}), proto::UDP, "10.0.1.2 53"),
    ] {
        let world = with_service(port.clone(), all.clone());
        assert_eq!(backends(&world, VIP, 80, protocol), Some(vec![expected.into()]), "{port}");
    }
    let world = with_service(json!({"port": 80, "targetPort": "nobody"}), all);
    assert_eq!(backends(&world, VIP, 80, proto::TCP), Some(vec![]));
}

#[test]
fn address_port_and_protocol_must_be_the_service_s() {
    let world = with_service(json!({"port": 80}), json!({"app": "web"}));
    assert_eq!(backends(&world, VIP, 81, proto::TCP), None);
    assert_eq!(backends(&world, VIP, 80, proto::UDP), None);
    assert_eq!(backends(&world, "10.96.0.11", 80, proto::TCP), None);
    assert_eq!(backends(&world, "fd00:96::10", 80, proto::TCP), Some(vec!["fd00:1::2 80".into()]));
    let found =
        translate(&world, "n1", VIP.parse().expect("an address"), 80, proto::TCP).expect("the service");
    assert_eq!(found.backends[0].pod.as_ref().map(ToString::to_string), Some("shop/web".into()));
}

#[test]
fn ready_pods_serve_and_ending_ones_only_where_none_is_ready() {
    let mut world = with_service(json!({"port": 80}), json!({"app": "web"}));
    let web = world.pods.iter().position(|pod| pod.metadata.name.as_deref() == Some("web")).expect("web");
    let mut second = world.pods[web].clone();
    second.metadata.name = Some("web-2".into());
    second.metadata.deletion_timestamp = Some(super::object(json!("2026-01-01T00:00:00Z")));
    let status = second.status.as_mut().expect("a status");
    status.pod_ip = Some("10.0.1.9".into());
    status.pod_ips = None;
    world.pods.push(second);
    assert_eq!(backends(&world, VIP, 80, proto::TCP), Some(vec!["10.0.1.2 80".into()]));
    let not_ready = super::object(json!([{"type": "Ready", "status": "False"}]));
    world.pods[web].status.as_mut().expect("a status").conditions = not_ready;
    assert_eq!(backends(&world, VIP, 80, proto::TCP), Some(vec!["10.0.1.9 80".into()]));
    world.services[0].spec.as_mut().expect("a spec").publish_not_ready_addresses = Some(true);
    assert_eq!(backends(&world, VIP, 80, proto::TCP), Some(vec!["10.0.1.2 80".into(), "10.0.1.9 80".into()]));
}

#[test]
fn slices_say_who_serves_and_then_the_selector_is_not_asked() {
    let mut world = with_service(json!({"port": 80, "name": "web"}), json!({"app": "web"}));
    let endpoint = |ip: &str, conditions: Value| json!({"addresses": [ip], "conditions": conditions});
    let of = |service: &str, endpoints: Value| {
        slice(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "s-1", "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": "web", "port": 8000}, {"name": "other", "port": 9000}], "endpoints": endpoints
        }))
    };
    world.slices = vec![
        of("other", json!([endpoint("10.9.9.9", json!({}))])),
        of(
            "s",
            json!([
                endpoint("10.0.2.1", json!({})),
                endpoint("10.0.3.1", json!({"ready": false})),
                endpoint("10.0.4.1", json!({"ready": false, "serving": true, "terminating": true}))
            ]),
        ),
    ];
    assert_eq!(backends(&world, VIP, 80, proto::TCP), Some(vec!["10.0.2.1 8000".into()]));
    assert_eq!(backends(&world, "fd00:96::10", 80, proto::TCP), Some(vec![]));
    world.slices[1].endpoints.as_mut().expect("endpoints").remove(0);
    assert_eq!(backends(&world, VIP, 80, proto::TCP), Some(vec!["10.0.4.1 8000".into()]));
}

#[test]
fn internal_traffic_may_be_kept_on_the_client_s_node() {
    let mut world = with_service(json!({"port": 80}), json!({"app": "web"}));
    world.services[0].spec.as_mut().expect("a spec").internal_traffic_policy = Some("Local".into());
    let on = |node| translate(&world, node, VIP.parse().expect("an address"), 80, proto::TCP);
    assert_eq!(on("n1").map(|found| found.backends.len()), Some(1));
    assert_eq!(on("n2").map(|found| found.backends.len()), Some(0));
}

#[test]
fn clients_in_the_cluster_find_all_backends_under_node_ports_and_load_balancers() {
    let mut world = with_service(json!({"port": 80, "nodePort": 30080}), json!({"app": "web"}));
    let node_v4 = "192.168.0.1";
    world.nodes = vec![super::object(json!({
        "metadata": {"name": "n1"},
        "status": {"addresses": [
            {"type": "ExternalIP", "address": "203.0.113.9"}, {"type": "InternalIP", "address": node_v4},
            {"type": "InternalIP", "address": "192.168.0.7"},
        ]},
    }))];
    world.services[0].status = super::object(json!({"loadBalancer": {"ingress": [
        {"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"},
    ]}}));
    let spec = world.services[0].spec.as_mut().expect("a spec");
    spec.type_ = Some("LoadBalancer".into());
    spec.external_traffic_policy = Some("Local".into());
    spec.internal_traffic_policy = Some("Local".into());
    let web = Some(vec!["10.0.1.2 80".to_owned()]);
    let on_other_node = translate(&world, "n9", VIP.parse().expect("an address"), 80, proto::TCP);
    assert!(on_other_node.expect("the service").backends.is_empty());
    assert_eq!(backends(&world, node_v4, 30080, proto::TCP), web);
    assert_eq!(backends(&world, "203.0.113.1", 80, proto::TCP), web);
    for (address, port) in [
        (node_v4, 80),
        ("192.168.0.7", 30080),
        ("203.0.113.9", 30080),
        ("203.0.113.2", 80),
        ("203.0.113.1", 30080),
    ] {
        assert_eq!(backends(&world, address, port, proto::TCP), None, "{address} {port}");
    }
    world.services[0].spec.as_mut().expect("a spec").type_ = Some("NodePort".into());
    assert_eq!(backends(&world, node_v4, 30080, proto::TCP), web);
    assert_eq!(backends(&world, "203.0.113.1", 80, proto::TCP), None);
    world.services[0].spec.as_mut().expect("a spec").type_ = None;
    assert_eq!(backends(&world, node_v4, 30080, proto::TCP), None);
}
