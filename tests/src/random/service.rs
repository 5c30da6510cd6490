use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    selector::labels,
    world::{HERE, NAMESPACES, THERE, object},
};

/// Service number `number` with its slices; without any, its selector decides.
pub(super) fn service(number: usize) -> impl Strategy<Value = (Service, Vec<EndpointSlice>)> {
    let ports = vec((select(vec!["TCP", "UDP"]), target()), 1..=2);
    let families = select(vec![[true, true], [true, true], [true, false], [false, true]]);
    let local = select(vec![Value::Null, Value::Null, json!("Cluster"), json!("Local")]);
    let slices = option::weighted(0.3, vec(slice(), 1..=2));
    (select(&NAMESPACES[..]), option::weighted(0.9, labels()), ports, families, local, any::<u8>(), slices)
        .prop_map(move |(namespace, selector, ports, families, local, dice, slices)| {
            let name = format!("s{number}");
            let ips = [format!("10.96.0.1{number}"), format!("fd00:96::1{number}")];
            let ips: Vec<_> =
                ips.into_iter().zip(families).filter_map(|(ip, has)| has.then_some(ip)).collect();
            let ports: Vec<Value> = ports
                .into_iter()
                .zip([("a", 80), ("b", 90)])
                .map(|((protocol, target), (name, port))| {
                    json!({"name": name, "port": port, "protocol": protocol, "targetPort": target})
                })
                .collect();
            let service = object(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "clusterIP": ips[0], "clusterIPs": ips, "ports": ports, "selector": selector,
                    "internalTrafficPolicy": local, "publishNotReadyAddresses": dice < 32
                }
            }));
            let slices = slices.into_iter().flatten().enumerate().map(|(i, mut slice)| {
                slice["metadata"] = json!({
                    "namespace": namespace, "name": format!("{name}-{i}"),
                    "labels": {"kubernetes.io/service-name": name}
                });
                object(slice)
            });
            (service, slices.collect())
        })
}

fn target() -> impl Strategy<Value = Value> {
    select(vec![Value::Null, json!(80), json!(81), json!(0), json!("http"), json!("dns"), json!("nobody")])
}

fn slice() -> impl Strategy<Value = Value> {
    let family = select(vec!["IPv4", "IPv4", "IPv6"]);
    let condition = || select(vec![Value::Null, json!(true), json!(true), json!(false)]);
    let node = select(vec![json!(HERE), json!(THERE), Value::Null]);
    // Half of the slices have no hints; in the others most endpoints have some, because one without ends them all.
    let places = |names: [&'static str; 2]| {
        let named = select(vec![vec![names[0]], vec![names[1]], vec![names[0], names[1]], vec![names[1]]]);
        prop_oneof![1 => Just(Vec::new()), 7 => named]
    };
    let hints = (places([HERE, THERE]), places(["zone-1", "zone-2"]), any::<bool>());
    let endpoint = (1..=2usize, 0..9usize, condition(), condition(), condition(), node, hints);
    let port = (select(vec!["a", "b"]), select(vec!["TCP", "UDP"]), select(vec![53, 80, 81]));
    let hinted = any::<bool>();
    (family, vec(endpoint, 0..=3), vec(port, 1..=2), hinted).prop_map(|(family, endpoints, ports, hinted)| {
        let endpoints = endpoints.into_iter().map(|(net, host, ready, serving, terminating, node, hints)| {
            // Some of them are pods, one is a node, one is outside.
            let address = match (host, family) {
                (7, "IPv4") => format!("192.168.0.{net}"),
                (7, _) => format!("fd01::{net}"),
                (8, "IPv4") => "203.0.113.7".to_owned(),
                (8, _) => "2001:db8::7".to_owned(),
                (_, "IPv4") => format!("10.0.{net}.{host}"),
                _ => format!("fd00:{net}::{host}"),
            };
            let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
            let mut endpoint = json!({"addresses": [address], "conditions": conditions, "nodeName": node});
            if hinted {
                let (nodes, zones, by_node) = hints;
                let named = |names: Vec<&str>| names.iter().map(|name| json!({"name": name})).collect();
                let nodes: Vec<Value> = if by_node { named(nodes) } else { Vec::new() };
                endpoint["hints"] = json!({"forNodes": nodes, "forZones": named(zones)});
            }
            endpoint
        });
        let ports = ports
            .into_iter()
            .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}));
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "endpoints": endpoints.collect::<Vec<_>>(), "ports": ports.collect::<Vec<_>>()
        })
    })
}
