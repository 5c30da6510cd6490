//! Who in the cluster addresses are, for backends that answer clients outside directly.

use std::collections::BTreeMap;

use netpol_common::{cluster::kind, service::flags};

use super::{Bed, ROOMY, ip, pod};
use crate::{
    dataplane::{Capacity, Dataplane, Op},
    index::{ExternalMode, NodePortAddresses, ServiceSettings},
};

fn node(name: &str, addresses: &[&str]) -> String {
    let list: Vec<String> =
        addresses.iter().map(|addr| format!("{{type: InternalIP, address: '{addr}'}}")).collect();
    format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{addresses: [{}]}}}}\n---\n",
        list.join(", ")
    )
}

fn settings() -> ServiceSettings {
    ServiceSettings { external_mode: ExternalMode::Dsr, ..ServiceSettings::default() }
}

/// Two nodes of both families, a pod on each, and one with the network of its node.
fn bed(settings: ServiceSettings) -> Bed {
    let mut bed = Bed::new();
    bed.engine.configure(settings);
    bed.up(10, &["10.0.1.1", "fd00:1::1"]);
    let mut yaml = node("node1", &["172.18.0.1", "fd00:172::1"]);
    yaml += &node("node2", &["172.18.0.2", "172.19.0.2", "fd00:172::2"]);
    yaml += &pod("shop/here", "node1", "{app: web}", &["10.0.1.1", "fd00:1::1"], "");
    yaml += &pod("shop/there", "node2", "{app: web}", &["10.0.2.1"], "");
    yaml += &pod("shop/host", "node2", "{app: web}", &["172.18.0.2"], "")
        .replace("nodeName", "hostNetwork: true, nodeName");
    bed.apply(&yaml);
    bed
}

/// Rows as words: `172.18.0.2 node 172.18.0.1`.
fn rows(bed: &Bed) -> Vec<String> {
    let words =
        BTreeMap::from([(kind::NODE, "node"), (kind::POD, "pod"), (kind::HERE, "here"), (kind::OWN, "own")]);
    let rows = bed.fake.rows().cluster.iter().map(|(addr, row)| {
        let said = row.addr.map(|addr| format!(" {addr}")).unwrap_or_default();
        format!("{addr} {}{said}", words[&row.kind])
    });
    rows.collect()
}

#[test]
fn nodes_and_pods_are_known_with_the_mode_alone() {
    assert_eq!(rows(&bed(ServiceSettings::default())), [""; 0]);
    let all = [
        "0.0.0.0 own 172.18.0.1",
        "10.0.1.1 here",
        "10.0.2.1 pod",
        "172.18.0.2 node 172.18.0.1",
        "172.19.0.2 node 172.18.0.1",
        ":: own fd00:172::1",
        "fd00:1::1 here",
        "fd00:172::2 node fd00:172::1",
    ];
    let mut known = bed(settings());
    assert_eq!(rows(&known), all);
    assert_eq!(
        known.engine.external_mode(),
        "dsr, from 172.18.0.1 and fd00:172::1, 3 addresses of other nodes"
    );
    // An agent that comes back finds them, and one without the mode takes them away.
    for (settings, left) in [(settings(), all.to_vec()), (ServiceSettings::default(), vec![])] {
        let objects = [
            node("node1", &["172.18.0.1", "fd00:172::1"]),
            node("node2", &["172.18.0.2", "172.19.0.2", "fd00:172::2"]),
        ];
        known.restart();
        known.engine.configure(settings);
        known.engine.interface_up(super::interface(10, &["10.0.1.1", "fd00:1::1"]));
        known.feed(
            &(objects.concat()
                + &pod("shop/here", "node1", "{app: web}", &["10.0.1.1", "fd00:1::1"], "")
                + &pod("shop/there", "node2", "{app: web}", &["10.0.2.1"], "")),
        );
        known.engine.synced();
        known.settle();
        assert_eq!(rows(&known), left);
    }
    assert_eq!(known.engine.external_mode(), "snat");
}

#[test]
fn they_follow_the_objects() {
    let mut bed = bed(settings());
    // The nodes' addresses change hands; a pod takes one that was a node's.
    bed.apply(&node("node2", &["172.19.0.2"]));
    bed.apply(&pod("shop/new", "node2", "{app: web}", &["172.18.0.2"], ""));
    assert!(rows(&bed).contains(&"172.18.0.2 pod".to_owned()), "{:?}", rows(&bed));
    bed.delete("Pod", "shop", "new").delete("Pod", "shop", "there").delete("Node", "", "node2");
    assert_eq!(
        rows(&bed),
        ["0.0.0.0 own 172.18.0.1", "10.0.1.1 here", ":: own fd00:172::1", "fd00:1::1 here"]
    );
    // Without an address to send from nothing is sent, in this family.
    bed.apply(&node("node1", &["172.18.0.1"]));
    assert_eq!(rows(&bed), ["0.0.0.0 own 172.18.0.1", "10.0.1.1 here"]);
    bed.delete("Node", "", "node1");
    assert_eq!(rows(&bed), [""; 0]);
    assert_eq!(bed.engine.external_mode(), "snat: dsr needs an address of this node in its Node");
    bed.apply(&node("node1", &["172.18.0.7"]));
    assert_eq!(rows(&bed), ["0.0.0.0 own 172.18.0.7", "10.0.1.1 here"]);
}

#[test]
fn other_nodes_ports_are_those_of_the_address_that_has_this_nodes() {
    let within = NodePortAddresses::Within(vec!["172.19.0.0/16".parse().expect("a net")]);
    let mut bed = bed(ServiceSettings { node_ports: within, ..settings() });
    bed.apply(&node("node1", &["172.18.0.1", "172.19.0.1", "fd00:172::1"]));
    let of_nodes: Vec<String> =
        rows(&bed).into_iter().filter(|row| row.contains("node") || row.contains("own")).collect();
    assert_eq!(
        of_nodes,
        [
            "0.0.0.0 own 172.18.0.1",
            "172.18.0.2 node 172.19.0.1",
            "172.19.0.2 node 172.19.0.1",
            ":: own fd00:172::1",
            "fd00:172::2 node"
        ]
    );
}

#[test]
fn this_nodes_own_row_is_there_while_all_others_are() {
    let mut bed = Bed::new();
    bed.engine.configure(settings());
    bed.feed(
        &(node("node1", &["172.18.0.1"])
            + &node("node2", &["172.18.0.2"])
            + &pod("shop/there", "node2", "{}", &["10.0.2.1"], "")),
    );
    let mut with_own = Vec::new();
    let look = |all: &mut Vec<usize>, bed: &crate::dataplane::fake::Fake| {
        let cluster = &bed.rows().cluster;
        if cluster.contains_key(&ip("0.0.0.0")) {
            all.push(cluster.len());
        }
    };
    bed.settle_with(|_, fake| look(&mut with_own, fake));
    bed.engine.configure(ServiceSettings::default());
    bed.settle_with(|_, fake| look(&mut with_own, fake));
    assert!(!with_own.is_empty() && with_own.iter().all(|rows| *rows == 3), "{with_own:?}");
    assert_eq!(rows(&bed), [""; 0]);
}

#[test]
fn an_address_that_does_not_fit_is_named_and_comes_when_there_is_room() {
    let mut bed = Bed::with(Capacity { cluster: 2, ..ROOMY });
    bed.engine.configure(settings());
    bed.feed(
        &(node("node1", &["172.18.0.1"])
            + &pod("shop/a", "node2", "{}", &["10.0.2.1"], "")
            + &node("node2", &["172.18.0.2"])),
    );
    let refusals: Vec<String> = bed.settle_with(|_, _| ()).iter().map(ToString::to_string).collect();
    let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
    assert!(
        refusal.contains("0.0.0.0") && refusal.contains("np_cluster4 has room for 2 rows, 3 are needed"),
        "{refusal}"
    );
    bed.delete("Pod", "shop", "a");
    assert_eq!(rows(&bed), ["0.0.0.0 own 172.18.0.1", "172.18.0.2 node 172.18.0.1"]);
}

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {selector: {app: web}, \
    type: NodePort, clusterIPs: [10.96.0.1], ports: [{port: 80, nodePort: 30080}]}}";

#[test]
fn pods_that_answer_from_outside_are_members_and_one_that_goes_has_no_connection_judged_again() {
    let mut bed = bed(settings());
    bed.apply(SERVICE);
    let members = |bed: &Bed| bed.fake.rows().members.len();
    assert_eq!(members(&bed), 3);
    let external = bed.fake.rows().frontends.values().filter(|row| row.flags & flags::EXTERNAL != 0).count();
    assert_eq!(external, 1);
    let mut deleted = false;
    bed.engine.delete(&crate::model::ObjectRef {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "there".into(),
    });
    let epoch = bed.fake.epoch();
    bed.settle_with(|op, _| deleted |= matches!(op, Op::DeleteMember(_)));
    assert_eq!((deleted, bed.fake.epoch()), (true, epoch));
    assert_eq!(bed.fake.read().expect("rows").members.len(), 2);
    bed.apply(&SERVICE.replace("type: NodePort, ", ""));
    assert_eq!(members(&bed), 0, "clients of a cluster address alone need none");
}
