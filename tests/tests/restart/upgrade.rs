//! Agents of another version of the maps: the same build with another number, and so another folder of pins.

use std::{collections::BTreeSet, fs, net::SocketAddr, thread};

use netpol_common::version::ABI_VERSION;
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec},
    eventually,
    probe::{Connection, Outcome, Protocol},
};
use serde_json::{Value, json};

use super::{
    SOON, START, assert_enforced, build, build_with,
    load::{Load, Report},
    loaded::{LIFE, assert_unharmed, server, web},
    pod,
    stream::Stream,
};

const NEXT: u32 = ABI_VERSION + 1;
const NODE_PORT: u16 = 30053;
/// How many agents are killed while one version follows the other.
const KILLS: usize = 6;

fn version(version: u32, arguments: &[&str]) -> AgentOptions {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    AgentOptions { version: Some(version), arguments, ..AgentOptions::default() }
}

/// The agent ends, and one of another version takes over.
#[track_caller]
fn change(bed: &mut Bed, node: &str, to: &AgentOptions) {
    assert!(bed.take_agent(node).unwrap().stop().unwrap().success());
    bed.start_agent(node, to).unwrap();
    bed.await_agents(START).unwrap();
    let only = BTreeSet::from([format!("v{}", to.version.unwrap_or(ABI_VERSION))]);
    eventually(SOON, "the other version is gone", || versions(bed, node) == only);
}

fn versions(bed: &Bed, node: &str) -> BTreeSet<String> {
    let pins = bed.node(node).unwrap().folder.join("bpf/netpol");
    let names = fs::read_dir(pins).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "aside").collect()
}

fn log(bed: &Bed) -> String {
    bed.agents().iter().map(|agent| agent.log()).collect()
}

/// A pod that everybody may reach, by a port of the nodes.
fn open_to_all() -> [Value; 2] {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "open", "namespace": "t"},
        "spec": {"type": "NodePort", "selector": {"app": "open"}, "clusterIP": "10.96.0.9",
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": NODE_PORT}]},
    });
    [pod("open", "node1", "open"), service]
}

#[test]
fn an_upgrade_and_a_downgrade_across_versions_cost_a_busy_node_nothing() {
    let xdp = ["--xdp=native"];
    let cluster = ClusterSpec { outside: vec!["client".to_owned()], ..ClusterSpec::default() };
    let mut bed = build_with(&cluster, &version(ABI_VERSION, &xdp));
    bed.apply(&open_to_all()).unwrap();
    let mut targets = server(&bed);
    targets.push(web(&mut bed));
    let load = Load::start(&bed, &["t/near", "t/far"], &["t/stranger", "t/far-stranger"], &targets);
    let client = &bed.outside("client").unwrap().netns;
    let from_outside = |node: &str| {
        let port = SocketAddr::new(bed.node(node).unwrap().addresses[0], NODE_PORT);
        Stream::start(client, port)
    };
    let mut streams = super::streams(&bed);
    streams.extend([from_outside("node1"), from_outside("node2")]);
    for number in 0..KILLS {
        let node = ["node1", "node2"][number % 2];
        // Before it is in sync, while it puts its programs in the place of the others, and after.
        thread::sleep(LIFE.mul_f64(fastrand::f64()));
        bed.take_agent(node).unwrap().kill().unwrap();
        bed.start_agent(node, &version([NEXT, ABI_VERSION][number / 2 % 2], &xdp)).unwrap();
    }
    bed.await_agents(START).unwrap();
    for number in [NEXT, ABI_VERSION] {
        for node in ["node1", "node2"] {
            change(&mut bed, node, &version(number, &xdp));
        }
    }
    let report = load.stop(&bed);
    let streams: Vec<_> = streams.into_iter().map(Stream::stop).collect();
    println!("datagrams sent and lost: {streams:?}");
    assert_unharmed(&report, &bed);
    assert!(report.silent > Report::ENOUGH_STRANGERS, "{report:?} proves little");
    for (sent, lost) in &streams {
        assert!(*sent > 500, "{streams:?} prove little");
        assert_eq!(*lost, 0, "{streams:?}\n{}", log(&bed));
    }
    assert_enforced(&bed, false, "at last");
}

#[test]
fn tables_with_a_layout_that_is_not_known_are_not_read() {
    let mut bed = build();
    let web = web(&mut bed);
    let direct = server(&bed)[0];
    let connect = |to| {
        let _guard = bed.runtime().enter();
        Connection::prepare(&bed.pod("t/near").unwrap().netns, Protocol::Tcp, to).unwrap()
    };
    let (mut direct, mut through) = (connect(direct), connect(web));
    let exchange = |bed: &Bed, connection: &mut Connection| {
        matches!(bed.runtime().block_on(connection.exchange(17, SOON)), Outcome::Answered(_))
    };
    assert!(exchange(&bed, &mut direct) && exchange(&bed, &mut through));
    assert!(bed.take_agent("node1").unwrap().stop().unwrap().success());
    let layouts = bed.node("node1").unwrap().folder.join(format!("bpf/netpol/v{ABI_VERSION}/layouts"));
    fs::rename(layouts.join("np_ct4-2"), layouts.join("np_ct4-1000")).unwrap();
    bed.start_agent("node1", &version(NEXT, &[])).unwrap();
    bed.await_agents(START).unwrap();
    eventually(SOON, "the other version is gone", || versions(&bed, "node1").len() == 1);
    assert!(exchange(&bed, &mut direct), "judged as one that is under way");
    assert!(!exchange(&bed, &mut through), "nobody knows its backend");
    let log = log(&bed);
    assert!(log.contains("np_ct4 has a layout that this version does not know"), "{log}");
    assert_enforced(&bed, false, "at last");
}
