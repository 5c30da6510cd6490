//! Real plugins in front of ours, in every version and family.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use netpol_tests::{
    bed::{
        AgentOptions, Bed, Chain, ClusterSpec, Container, Family, Netns, Node, Place, object_ref, sandbox,
    },
    eventually,
};
use serde_json::{Value, json};

use crate::{
    ground::{
        ALLOWED, FORBIDDEN, PATIENCE, container, endpoints, hold, netpol, plugin_dir, policy, unstarted,
    },
    sound::{Ear, Mouth},
};

struct Row {
    name: &'static str,
    node: &'static str,
    version: &'static str,
    families: &'static [Family],
    main: fn() -> Value,
    behind: fn() -> Vec<Value>,
    added: fn() -> Value,
}

const NONE: fn() -> Vec<Value> = Vec::new;
const NOTHING: fn() -> Value = || json!({});
const PTP: fn() -> Value = || json!({"type": "ptp"});
const BRIDGE: fn() -> Value = || json!({"type": "bridge", "bridge": "cni0", "isGateway": true});

const ROWS: [Row; 6] = [
    row("ptp, IPv4", "node1", "0.3.1", &[Family::V4], PTP, NONE, NOTHING),
    row("ptp, IPv6", "node1", "0.4.0", &[Family::V6], PTP, NONE, NOTHING),
    row(
        "ptp, both, with ports of the node",
        "node1",
        "1.0.0",
        &Family::ALL,
        PTP,
        || vec![json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}})],
        || json!({"runtimeConfig": {"portMappings": [{"hostPort": 8053, "containerPort": 7001, "protocol": "udp"}]}}),
    ),
    row("bridge, IPv4", "node2", "0.4.0", &[Family::V4], BRIDGE, NONE, NOTHING),
    row("bridge, IPv6", "node2", "0.3.1", &[Family::V6], BRIDGE, NONE, NOTHING),
    row(
        "bridge, both, with limits and sysctls",
        "node2",
        "1.0.0",
        &Family::ALL,
        BRIDGE,
        || {
            vec![
                json!({"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_notify": "1"}}),
                json!({"type": "bandwidth", "ingressRate": 10_000_000, "ingressBurst": 10_000_000,
                       "egressRate": 10_000_000, "egressBurst": 10_000_000}),
            ]
        },
        NOTHING,
    ),
];

const fn row(
    name: &'static str,
    node: &'static str,
    version: &'static str,
    families: &'static [Family],
    main: fn() -> Value,
    behind: fn() -> Vec<Value>,
    added: fn() -> Value,
) -> Row {
    Row { name, node, version, families, main, behind, added }
}

fn build() -> Bed {
    let spec = ClusterSpec { outside: vec!["world".to_owned()], ..ClusterSpec::default() };
    let mut bed = Bed::build(&spec).unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}), policy()])
        .unwrap();
    bed.await_agents(PATIENCE).unwrap();
    bed
}

fn chain(node: &Node, Row { version, families, main, behind, added, .. }: &Row) -> Chain {
    let wanted = |range: &&ipnet::IpNet| families.contains(&Family::of(range.addr()));
    let ranges: Vec<_> =
        node.pod_ranges.iter().filter(wanted).map(|subnet| json!([{"subnet": subnet}])).collect();
    let everywhere = |family: &Family| if *family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
    let routes: Vec<_> = families.iter().map(|family| json!({"dst": everywhere(family)})).collect();
    let mut main = main();
    main["ipam"] =
        json!({"type": "host-local", "dataDir": node.folder.join("cni"), "ranges": ranges, "routes": routes});
    let mut plugins = vec![hold(), main];
    plugins.extend(behind());
    plugins.push(netpol(node));
    Chain { version: (*version).to_owned(), plugins, added: added() }
}

/// What is allowed arrives, and nothing else, in both directions and all families.
#[track_caller]
fn assert_policed(bed: &Bed, name: &str, netns: &Netns, addresses: &[IpAddr]) {
    let world = bed.netns(&Place::Outside("world".to_owned())).unwrap();
    let of_pod: Vec<Family> = addresses.iter().map(|addr| Family::of(*addr)).collect();
    for addr in bed.addresses(&Place::Outside("world".to_owned())).unwrap() {
        if !of_pod.contains(&Family::of(*addr)) {
            continue;
        }
        let (allowed, forbidden) = (Ear::at(&world, ALLOWED), Ear::at(&world, FORBIDDEN));
        let inbox = Ear::at(netns, FORBIDDEN);
        let mouths = [
            Mouth::to(netns, vec![SocketAddr::new(*addr, FORBIDDEN), SocketAddr::new(*addr, ALLOWED)]),
            Mouth::to(&world, addresses.iter().map(|addr| SocketAddr::new(*addr, FORBIDDEN)).collect()),
        ];
        // On a busy machine one of them may begin when the other has said all that is waited for.
        eventually(PATIENCE, name, || allowed.heard() > 20 && mouths.iter().all(|mouth| mouth.sent() > 20));
        for mouth in mouths {
            mouth.close();
        }
        assert_eq!((forbidden.heard(), inbox.heard()), (0, 0), "{name}: {addr}");
    }
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn pods_of_every_chain_are_policed_from_their_start() {
    let mut bed = build();
    for (number, row) in ROWS.iter().enumerate() {
        let name = format!("p{number}");
        let mut object = unstarted(&name, &name, "starting");
        object["spec"]["nodeName"] = json!(row.node);
        bed.tell(&object).unwrap();
        let node = bed.node(row.node).unwrap();
        let chain = chain(node, row);
        let netns = sandbox(node, &format!("cni-{name}")).unwrap();
        let who = container(&name, &name, &netns);
        let called = chain.call(node, "ADD", &who, &Value::Null).unwrap();
        let addresses = addresses(&called.result);
        assert_eq!(addresses.len(), row.families.len(), "{}", row.name);
        assert_policed(&bed, row.name, &netns, &addresses);
        let own = netpol(node);
        chain.call_one(node, &own, "CHECK", &who, &called.result).unwrap();
        chain.call(node, "DEL", &who, &called.result).unwrap();
        netns.delete().unwrap();
        bed.delete(&[object_ref(&object).unwrap()]).unwrap();
    }
}

/// As calico wires pods: an address without a net, a gateway that is nobody's, and a node that answers for it.
fn route_by_hand(node: &Node, netns: &Path, addresses: &[IpAddr; 2]) {
    let [v4, v6] = addresses;
    let pair = format!(
        "link add cali1 address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {}",
        netns.display()
    );
    // A node answers for what it has a way to elsewhere; the bed's have no default route.
    let way = "route add 169.254.1.1 dev eth0".to_owned();
    node.netns.ip(&[pair, "link set cali1 up".to_owned(), way]).unwrap();
    node.netns
        .set_sysctls(&[("ipv4/conf/cali1/proxy_arp", "1"), ("ipv4/neigh/cali1/proxy_delay", "0")])
        .unwrap();
    let pod = Netns::open("pod", netns).unwrap();
    let lines = [
        "link set eth0 up".to_owned(),
        format!("addr add {v4}/32 dev eth0"),
        format!("addr add {v6}/128 dev eth0 nodad"),
        "route add 169.254.1.1 dev eth0 scope link".to_owned(),
        "route add default via 169.254.1.1 dev eth0".to_owned(),
        "route add default via fe80::ecee:eeff:feee:eeee dev eth0".to_owned(),
    ];
    pod.ip(&lines).unwrap();
    node.netns.ip(&[format!("route add {v4} dev cali1"), format!("route add {v6} dev cali1")]).unwrap();
}

#[test]
fn a_pod_that_is_routed_as_calico_does_is_policed_and_its_second_interface_is_closed() {
    let mut bed = build();
    let object = unstarted("p", "p", "starting");
    bed.tell(&object).unwrap();
    let node = bed.node("node1").unwrap();
    let netns = sandbox(node, "cni-p").unwrap();
    let who = Container { ifname: "eth0".to_owned(), ..container("p", "p", &netns) };
    let nth = |n| node.pod_ranges.iter().map(|range| range.hosts().nth(n).unwrap()).collect::<Vec<_>>();
    let own: [IpAddr; 2] = nth(77).try_into().unwrap();
    let alone = Chain { version: "1.1.0".to_owned(), plugins: Vec::new(), added: json!({}) };
    alone.call_one(node, &hold(), "ADD", &who, &Value::Null).unwrap();
    route_by_hand(node, netns.path(), &own);
    let ips: Vec<_> = own
        .iter()
        .map(|addr| json!({"address": format!("{addr}/{}", if addr.is_ipv4() { 32 } else { 128 })}))
        .collect();
    let previous = json!({"cniVersion": "1.1.0", "ips": ips});
    assert_eq!(alone.call_one(node, &netpol(node), "ADD", &who, &previous).unwrap(), previous);
    assert_policed(&bed, "routed by hand", &netns, &own);

    // A second network, of a chain without the plugin.
    let others = nth(78);
    let pair = format!("link add second type veth peer name net1 netns {}", netns.path().display());
    node.netns.ip(&[pair, "link set second up".to_owned()]).unwrap();
    netns.ip(&["link set net1 up".to_owned(), format!("addr add {}/24 dev net1", others[0])]).unwrap();
    eventually(PATIENCE, "the second interface is closed", || {
        endpoints(&bed).iter().any(|e| e.pod.is_none() && e.interface.as_deref() == Some("second"))
    });
    assert_policed(&bed, "beside another interface", &netns, &own);
    assert!(plugin_dir(node).join("pods").join("cni-p@eth0.json").exists());
    alone.call_one(node, &netpol(node), "DEL", &who, &previous).unwrap();
    netns.delete().unwrap();
    bed.delete(&[object_ref(&object).unwrap()]).unwrap();
}
