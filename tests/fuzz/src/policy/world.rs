//! Choices → pods, namespaces and Services. Numbers are parts of names and addresses, so that no two share one.

use std::net::IpAddr;

use netpol_agent::oracle::World;
use netpol_tests::random::HERE;
use serde_json::{Value, from_value, json};

use crate::choices::Choices;

pub(super) const LABELS: [&str; 2] = ["a", "b"];
pub(super) const VALUES: [&str; 2] = ["x", "y"];
/// The other node.
const THERE: &str = "there";
const PODS: usize = 5;

pub(super) fn namespace(choices: &mut Choices<'_>) -> &'static str {
    choices.of(&["n0", "n1"])
}

/// Somebody's: a pod's, a node's, or an outsider's.
pub(super) fn address(choices: &mut Choices<'_>) -> IpAddr {
    let net = 1 + u16::from(choices.once_in(2));
    let host = choices.below(PODS + 2) as u16;
    let v4 = choices.once_in(2);
    match (host, v4) {
        (0..5, true) => IpAddr::from([10, 0, net as u8, host as u8]),
        (0..5, false) => IpAddr::from([0xfd00, net, 0, 0, 0, 0, 0, host]),
        (5, true) => IpAddr::from([192, 168, 0, net as u8]),
        (5, false) => IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, net]),
        (_, true) => IpAddr::from([203, 0, 113, 7]),
        (_, false) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]),
    }
}

/// Two nodes, two namespaces and three pods, so that short inputs meet somebody.
pub(crate) fn first() -> World {
    let mut world = World::default();
    for (number, name) in [(1, HERE), (2, THERE)] {
        let addresses = [format!("192.168.0.{number}"), format!("fd01::{number}")];
        let addresses = addresses.map(|address| json!({"type": "InternalIP", "address": address}));
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": addresses}});
        world.nodes.push(object(node));
    }
    for choices in [[0, 1, 0], [1, 0, 1]] {
        put_namespace(&mut world, &mut Choices::new(&choices));
    }
    for choices in [[0, 0, 1], [1, 1, 2], [2, 0, 3]] {
        put_pod(&mut world, &mut Choices::new(&choices));
    }
    world
}

pub(super) fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    from_value(value).expect("only what the API's types can hold is made here")
}

fn labels(choices: &mut Choices<'_>) -> Value {
    let which = choices.byte();
    let has = LABELS.iter().enumerate().filter(|(i, _)| which >> i & 1 == 1);
    has.map(|(i, key)| ((*key).to_owned(), json!(VALUES[usize::from(which >> (2 + i) & 1)]))).collect()
}

/// Makes it, edits it, or now and then takes it away.
pub(super) fn put_namespace(world: &mut World, choices: &mut Choices<'_>) {
    let name = namespace(choices);
    world.namespaces.retain(|old| old.metadata.name.as_deref() != Some(name));
    let labels = labels(choices);
    if !choices.once_in(4) {
        let metadata = json!({"name": name, "labels": labels});
        world.namespaces.push(object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})));
    }
}

/// Makes it, or replaces the one with its number.
pub(super) fn put_pod(world: &mut World, choices: &mut Choices<'_>) {
    let number = choices.below(PODS);
    remove_pod(world, number);
    let (namespace, labels) = (namespace(choices), labels(choices));
    let net = 1 + usize::from(choices.once_in(3));
    let (mut phase, mut host_network, mut address) = ("Running", false, number);
    match choices.below(12) {
        10 => host_network = true,
        11 => (phase, address) = ("Failed", choices.below(PODS)),
        _ => {}
    }
    let addresses = match host_network {
        true => [format!("192.168.0.{net}"), format!("fd01::{net}")],
        false => [format!("10.0.{net}.{address}"), format!("fd00:{net}::{address}")],
    };
    let families = choices.of(&[&[0usize, 1][..], &[0], &[1]]);
    let ips: Vec<Value> = families.iter().map(|family| json!({"ip": addresses[*family]})).collect();
    let ports = choices.some(3, |choices| {
        let protocol = choices.of(&[json!("TCP"), Value::Null, json!("UDP"), json!("SCTP"), json!("")]);
        let (name, number) = (choices.of(&["http", "dns"]), choices.of(&[80, 81, 53]));
        json!({"name": name, "containerPort": number, "protocol": protocol})
    });
    world.pods.push(object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": format!("p{number}"), "labels": labels},
        "spec": {"nodeName": if net == 1 { HERE } else { THERE }, "hostNetwork": host_network,
            "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": phase, "podIP": ips[0]["ip"], "podIPs": ips}
    })));
}

pub(super) fn remove_pod(world: &mut World, number: usize) {
    let name = format!("p{number}");
    world.pods.retain(|old| old.metadata.name.as_ref() != Some(&name));
}

/// Makes one that goes by its selector, or takes it away.
pub(super) fn put_service(world: &mut World, choices: &mut Choices<'_>) {
    let number = choices.below(2);
    let name = format!("s{number}");
    world.services.retain(|old| old.metadata.name.as_ref() != Some(&name));
    if choices.once_in(4) {
        return;
    }
    let ips = [format!("10.96.0.1{number}"), format!("fd00:96::1{number}")];
    let protocol = choices.of(&["TCP", "UDP", ""]);
    let target = choices.of(&[Value::Null, json!(80), json!(81), json!("http"), json!("dns")]);
    world.services.push(object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace(choices), "name": name},
        "spec": {"clusterIP": ips[0], "clusterIPs": ips, "selector": labels(choices),
            "internalTrafficPolicy": choices.of(&["Cluster", "Local"]),
            "ports": [{"name": "a", "port": 80, "protocol": protocol, "targetPort": target}]}
    })));
}
