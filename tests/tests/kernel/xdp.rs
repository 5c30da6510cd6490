use std::{net::SocketAddr, process::Command, time::Duration};

use netpol_agent::dataplane::kernel::{
    Kernel, KernelOptions, LoadOptions, Object, Sizes, UplinkChoice, UplinkOptions,
    XdpChoice::{self, Auto, Generic, Native, Off},
    cleanup,
};
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Node},
    eventually,
    flows::status,
    probe::{Connection, Outcome, Protocol},
};
use serde_json::json;

use crate::node::{PATIENCE, options, pin_dir, pod};

const GENERIC: &str = "xdpgeneric";

fn open(node: &Node, name: &str, xdp: XdpChoice) -> Kernel {
    let choice = UplinkChoice::Named([name.to_owned()].into());
    let uplinks = UplinkOptions { choice, xdp, ..UplinkOptions::default() };
    let options = KernelOptions { uplinks, ..options(node, None) };
    node.netns.enter(|| Ok(Kernel::open(&options)?)).unwrap()
}

/// Number of the XDP program on an interface, and whether the kernel runs it instead of the driver; asked of the kernel.
pub(crate) fn on(node: &Node, name: &str) -> Option<(u64, bool)> {
    let output = node.netns.output(Command::new("ip").args(["-j", "-d", "link", "show", name])).unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let xdp = links[0].get("xdp")?;
    // `XDP_ATTACHED_SKB` is 2.
    Some((xdp["prog"]["id"].as_u64()?, xdp["mode"] == 2 || xdp.to_string().contains(GENERIC)))
}

#[test]
fn it_outlives_the_agent_is_replaced_and_goes() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let node = bed.node("node1").unwrap();
    let kernel = open(node, "eth0", Native);
    assert_eq!(kernel.xdp.summary(), "eth0 native");
    let (first, generic) = on(node, "eth0").expect("it is attached");
    assert!(!generic);
    drop(kernel);
    assert_eq!(on(node, "eth0"), Some((first, false)), "without an agent");
    drop(open(node, "eth0", Native));
    let (second, generic) = on(node, "eth0").expect("it is attached still");
    assert!(second != first && !generic, "replaced");
    let kernel = open(node, "eth0", Generic);
    assert_eq!(kernel.xdp.summary(), "eth0 generic");
    assert!(on(node, "eth0").is_some_and(|(_, generic)| generic));
    drop(kernel);
    // What a veth's other end is like cannot be seen.
    let kernel = open(node, "eth0", Auto);
    assert!(kernel.xdp.summary().starts_with("eth0 off: a veth"), "{}", kernel.xdp.summary());
    assert_eq!(kernel.xdp.problems(), []);
    eventually(PATIENCE, "off", || on(node, "eth0").is_none());
    drop(kernel);
    for how in ["off", "another uplink", "cleanup"] {
        drop(open(node, "eth0", Native));
        assert!(on(node, "eth0").is_some(), "before {how}");
        match how {
            "off" => drop(open(node, "eth0", Off)),
            "another uplink" => drop(open(node, "lo", Native)),
            _ => node.netns.enter(|| Ok(cleanup(&pin_dir(node))?)).unwrap(),
        }
        // The kernel takes a program away when it gets to it, after the last pin of its link.
        eventually(PATIENCE, how, || on(node, "eth0").is_none());
    }
}

#[test]
fn where_it_cannot_be_had_tc_goes_on_and_says_why() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let node = bed.node("node1").unwrap();
    // Programs of somebody else.
    let mut others = Object::load(&LoadOptions { pin_dir: None, sizes: Sizes::small() }).unwrap();
    others.load_wire_program().unwrap();
    node.netns
        .enter(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
            let eth0 = rustix::net::netdevice::name_to_index(&socket, "eth0")?;
            others.wire_program()?.attach_to_if_index(eth0, Default::default())?;
            Ok(())
        })
        .unwrap();
    let theirs = on(node, "eth0").expect("theirs");
    for (choice, problems) in [(Native, 1), (Generic, 1)] {
        let kernel = open(node, "eth0", choice);
        assert_eq!(kernel.xdp.summary(), "eth0 off: it has an XDP program of somebody else");
        assert_eq!((on(node, "eth0"), kernel.xdp.problems().len()), (Some(theirs), problems));
    }
    drop(others);
    // A driver without XDP.
    node.netns.ip(&["link add none0 type bridge".to_owned(), "link set none0 up".to_owned()]).unwrap();
    let kernel = open(node, "none0", Auto);
    assert_eq!(kernel.xdp.summary(), "none0 off: its driver runs no XDP programs");
    assert_eq!(kernel.xdp.problems(), []);
    drop(kernel);
    let kernel = open(node, "none0", Native);
    let problems: Vec<_> = kernel.xdp.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["interface none0: --xdp: its driver runs no XDP programs; the TC programs do its work"]
    );
    drop(kernel);
    assert_eq!(open(node, "none0", Generic).xdp.summary(), "none0 generic");
}

#[test]
fn a_connection_through_the_node_goes_on_while_its_agent_is_replaced() {
    goes_on_while_the_agent_is_replaced("node2", 2);
}

#[test]
fn a_connection_to_a_pod_of_the_node_goes_on_while_its_agent_is_replaced() {
    // Its answers are translated by the pod's own program.
    goes_on_while_the_agent_is_replaced("node1", 1);
}

/// `in_front`: how many frames of an exchange XDP translates, at least. The client asks node1 for a backend on `backend`.
fn goes_on_while_the_agent_is_replaced(backend: &str, in_front: u64) {
    let outside = vec!["client".to_owned()];
    let mut bed = Bed::build(&ClusterSpec { outside, ..ClusterSpec::default() }).unwrap();
    bed.carry_frames().unwrap();
    let agents = AgentOptions { arguments: vec!["--xdp=native".to_owned()], ..AgentOptions::default() };
    bed.start_agents(&agents).unwrap();
    let mut backend = pod("web", backend);
    backend["metadata"]["labels"] = json!({"app": "web"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "t"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "clusterIP": "10.96.9.9",
            "ports": [{"port": 80, "targetPort": 80, "nodePort": 30080}]},
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}});
    bed.apply(&[namespace, backend, service]).unwrap();
    bed.await_agents(Duration::from_secs(30)).unwrap();
    let target = SocketAddr::new(bed.node("node1").unwrap().addresses[0], 30080);
    let mut connection = {
        let _guard = bed.runtime().enter();
        Connection::prepare(&bed.outside("client").unwrap().netns, Protocol::Tcp, target).unwrap()
    };
    let mut exchange = |bed: &Bed, when: &str| {
        let outcome = bed.runtime().block_on(connection.exchange(17, PATIENCE));
        assert!(matches!(outcome, Outcome::Answered(_)), "{when}: {outcome:?}");
    };
    let frames = |bed: &Bed| {
        let agent = bed.agents().iter().find(|agent| agent.node == "node1").expect("an agent");
        status(agent).unwrap().xdp_frames
    };
    exchange(&bed, "at first");
    let before = frames(&bed);
    exchange(&bed, "established");
    assert!(frames(&bed) >= before + in_front, "XDP translates");
    bed.take_agent("node1").unwrap().kill().unwrap();
    exchange(&bed, "without an agent");
    bed.start_agent("node1", &agents).unwrap();
    bed.await_agents(Duration::from_secs(30)).unwrap();
    // It may be judged again, which is TC's.
    exchange(&bed, "with another agent");
    let before = frames(&bed);
    exchange(&bed, "judged again");
    assert!(frames(&bed) >= before + in_front, "by its program");
}
