//! By which interfaces somebody is believed to be no pod of the node.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use netpol_agent::dataplane::kernel::{AttachMode, Change, Kernel};
use netpol_tests::{
    bed::{Bed, ClusterSpec, Netns, Node, Place},
    probe::{Attempt, Outcome, Protocol},
};

use crate::node::{PATIENCE, await_change, await_pod, open, open_pod, pinned_interfaces, pod, v4};

const SHORT: Duration = Duration::from_millis(200);

/// A node with a pod that answers everybody whom its programs let in.
struct Stage {
    bed: Bed,
    kernel: Kernel,
    witness: IpAddr,
}

impl Stage {
    fn on(node: &str) -> Self {
        let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
        bed.apply(&[pod("witness", node)]).unwrap();
        let mut kernel = open(&bed, node, None);
        let interface = await_pod(&bed, &mut kernel, "t/witness");
        open_pod(&mut kernel, &interface);
        let witness = v4(&bed.pod("t/witness").unwrap().addresses);
        Self { bed, kernel, witness }
    }

    fn node1(&self) -> &Node {
        self.bed.node("node1").unwrap()
    }

    /// Discovery has acted on all that has happened.
    fn look(&self) {
        assert!(self.bed.runtime().block_on(self.kernel.look.now()), "discovery has ended");
    }

    fn await_answer(&self, from: &Arc<Netns>) {
        let deadline = Instant::now() + PATIENCE;
        while ask(&self.bed, from.clone(), self.witness) == Outcome::Silent {
            assert!(Instant::now() < deadline, "{} gets no answer", from.name());
        }
    }
}

fn ask(bed: &Bed, from: Arc<Netns>, to: IpAddr) -> Outcome {
    let to = SocketAddr::new(to, 53);
    let attempt = Attempt { from, protocol: Protocol::Udp, to, size: 17, timeout: SHORT };
    bed.runtime().block_on(attempt.make()).1
}

/// A namespace that pods would have, or that something else has which no agent looks after.
fn namespace(stage: &Stage, name: &str, is_pods: bool) -> Arc<Netns> {
    let folder = if is_pods { stage.node1().netns_dir() } else { stage.bed.folder().to_owned() };
    let netns = Netns::create(name, &folder.join(name)).unwrap();
    netns.set_sysctls(&[("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")]).unwrap();
    Arc::new(netns)
}

/// The far end's address, and its way to the witness.
fn settle(far: &Netns, device: &str) {
    let lines = [
        format!("addr add 198.51.100.2/24 dev {device}"),
        format!("link set {device} up"),
        "route add default via 198.51.100.1".to_owned(),
    ];
    far.ip(&lines).unwrap();
}

/// What the node calls its end.
fn at(device: &str) -> [String; 2] {
    [format!("addr add 198.51.100.1/24 dev {device}"), format!("link set {device} up")]
}

#[test]
fn a_pod_that_comes_while_no_agent_runs_reaches_no_pod_of_its_node() {
    for (node, other) in [("node1", "node2"), ("node2", "node1")] {
        let Stage { mut bed, kernel, witness } = Stage::on(node);
        let mode = kernel.mode;
        drop(kernel);
        bed.apply(&[pod("newcomer", node), pod("remote", other)]).unwrap();
        if mode == AttachMode::Tcx {
            assert_eq!(pinned_interfaces(bed.node(node).unwrap()).len(), 2, "the witness's programs alone");
        }
        let place = |name: &str| Place::Pod(format!("t/{name}"));
        let asks = |bed: &Bed, who: &Place| ask(bed, bed.netns(who).unwrap(), witness);
        assert_eq!(asks(&bed, &place("newcomer")), Outcome::Silent, "{node}");
        for known in [place("remote"), Place::Node(node.into()), Place::Node(other.into())] {
            let outcome = asks(&bed, &known);
            assert!(matches!(outcome, Outcome::Answered(_)), "{known} to a pod of {node}: {outcome:?}");
        }
        let mut kernel = open(&bed, node, None);
        let interface = await_pod(&bed, &mut kernel, "t/newcomer");
        open_pod(&mut kernel, &interface);
        let outcome = asks(&bed, &place("newcomer"));
        assert!(matches!(outcome, Outcome::Answered(_)), "{node}: {outcome:?}");
    }
}

#[test]
fn an_uplink_and_a_bridge_that_come_later_are_let_in() {
    let stage = Stage::on("node1");
    let far = namespace(&stage, "far", false);
    let node = stage.node1();
    let pair = format!("link add up1 type veth peer name eth0 netns {}", far.path().display());
    node.netns.ip(&[pair]).unwrap();
    node.netns.ip(&at("up1")).unwrap();
    settle(&far, "eth0");
    stage.await_answer(&far);
    // Routed from a bridge that it is a port of from now on.
    node.netns
        .ip(&["addr flush dev up1", "link add br1 type bridge", "link set up1 master br1"].map(str::to_owned))
        .unwrap();
    node.netns.ip(&at("br1")).unwrap();
    stage.await_answer(&far);
    far.delete().unwrap();
}

#[test]
fn a_pair_whose_end_moves_into_a_pod_leads_to_a_pod() {
    let mut stage = Stage::on("node1");
    let newcomer = namespace(&stage, "newcomer", true);
    let node = stage.bed.node("node1").unwrap().netns.clone();
    let pair = ["link add h1 up type veth peer name p1", "link set p1 up"].map(str::to_owned);
    node.ip(&pair).unwrap();
    node.ip(&at("h1")).unwrap();
    stage.look();
    node.ip(&[format!("link set p1 netns {}", newcomer.path().display())]).unwrap();
    stage.look();
    settle(&newcomer, "p1");
    assert_eq!(ask(&stage.bed, newcomer.clone(), stage.witness), Outcome::Silent);
    let wanted: IpAddr = "198.51.100.2".parse().unwrap();
    let interface = await_change(&stage.bed, &mut stage.kernel, "the pair", |change| match change {
        Change::Up(up) if up.addresses == [wanted] => Some(up.clone()),
        _ => None,
    });
    open_pod(&mut stage.kernel, &interface);
    stage.await_answer(&newcomer);
    newcomer.delete().unwrap();
}

#[test]
fn a_new_pod_is_not_believed_for_the_uplink_that_had_its_number() {
    let stage = Stage::on("node1");
    let (far, newcomer) = (namespace(&stage, "far", false), namespace(&stage, "newcomer", true));
    let pair = |far: &Netns| {
        vec![format!("link add up1 index 4242 type veth peer name eth0 netns {}", far.path().display())]
    };
    let node = stage.node1().netns.clone();
    node.ip(&pair(&far)).unwrap();
    node.ip(&at("up1")).unwrap();
    settle(&far, "eth0");
    stage.await_answer(&far);
    node.ip(&["link del up1".to_owned()]).unwrap();
    stage.look();
    let Stage { bed, kernel, witness } = stage;
    drop(kernel);
    node.ip(&pair(&newcomer)).unwrap();
    node.ip(&at("up1")).unwrap();
    settle(&newcomer, "eth0");
    assert_eq!(ask(&bed, newcomer.clone(), witness), Outcome::Silent);
    for netns in [far, newcomer] {
        netns.delete().unwrap();
    }
}
