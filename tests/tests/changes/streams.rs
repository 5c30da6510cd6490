//! Two hundred connections stream while a thousand random changes happen.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netpol_agent::oracle::World;
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Family},
    probe::Protocol,
};
use serde_json::{Map, Value, json};

use super::{
    cluster::{Cluster, key},
    course::{Course, Shown},
    dice::Dice,
    flow::{self, Flow},
    random::{ELSEWHERE, HOME, PORT, labels, namespace, policy},
};

const CHANGES: usize = 1000;
const START: Duration = Duration::from_secs(60);
const NODES: [&str; 2] = ["node1", "node2"];
const CLIENTS: usize = 10;
/// Where they run. The first two are also reached through Services of their own.
const SERVERS: [&str; 3] = ["node1", "node2", "node2"];
const SERVICES: usize = 2;

#[test]
fn what_stays_allowed_loses_nothing_and_what_stays_denied_gets_nothing_through() {
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

fn run() -> Result<()> {
    let mut dice = Dice::new();
    let mut cluster = build(&mut dice)?;
    let flows = Arc::new(flows(&cluster.bed)?);
    ensure!(flows.len() == 200, "{} flows", flows.len());
    flow::start(&cluster.bed, &flows)?;
    let mut courses = flows.iter().map(|f| Course::new(f, &cluster.world)).collect::<Result<Vec<_>>>()?;
    let mut shown = Shown::default();
    // Every connection is there before the first change.
    let started = Instant::now();
    while flows.iter().any(|f| f.log.sent() == 0 || !f.log.missing(0, 1).is_empty()) {
        ensure!(started.elapsed() < START, "not every stream has begun");
        std::thread::sleep(Duration::from_millis(10));
    }
    let started = Instant::now();
    let mut changes = Changes::new(&cluster);
    for number in 0..CHANGES {
        let change = changes.next(&mut dice, number);
        step(&mut cluster, &change, &flows, &mut courses, &mut shown)
            .with_context(|| format!("change {number}: {}", change.what()))?;
    }
    for (flow, course) in flows.iter().zip(&mut courses) {
        course.finish(flow, &mut shown)?;
    }
    println!("{CHANGES} changes in {:.1?}: {shown:?}", started.elapsed());
    // A course that is nearly always open or closed would show little.
    let least = CHANGES * flows.len() / 20;
    ensure!(shown.stayed_open > least && shown.stayed_closed > least && shown.turns > CHANGES, "{shown:?}");
    ensure!(shown.returned > CHANGES && shown.dropped > CHANGES, "{shown:?}");
    Ok(())
}

fn step(
    cluster: &mut Cluster,
    change: &Change,
    flows: &[Flow],
    courses: &mut [Course],
    shown: &mut Shown,
) -> Result<()> {
    let next = change.foretell(cluster)?;
    for (flow, course) in flows.iter().zip(courses.iter_mut()) {
        course.before(flow, &next, shown)?;
    }
    change.make(cluster)?;
    cluster.bed.await_agents(START)?;
    for (flow, course) in flows.iter().zip(courses) {
        course.after(flow);
    }
    Ok(())
}

fn build(dice: &mut Dice) -> Result<Cluster> {
    let mut bed = Bed::build(&ClusterSpec::default())?;
    bed.start_agents(&AgentOptions::default())?;
    let mut cluster = Cluster::new(bed);
    let pods = (0..CLIENTS).map(|n| (format!("c{n}"), NODES[n % 2], "client".to_owned()));
    let servers = (0..).zip(SERVERS).map(|(n, node)| (format!("s{n}"), node, format!("server{n}")));
    let pods: Vec<_> =
        pods.chain(servers).map(|(name, node, role)| pod(&name, node, &role, labels(dice))).collect();
    let services = (0..SERVICES).map(|n| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}"), "namespace": HOME},
            "spec": {
                "selector": {"role": format!("server{n}")}, "ipFamilyPolicy": "RequireDualStack",
                "ports": [
                    {"name": "t", "port": PORT, "protocol": "TCP"}, {"name": "u", "port": PORT, "protocol": "UDP"},
                ],
            },
        })
    });
    let objects: Vec<_> =
        [namespace(dice, HOME), namespace(dice, ELSEWHERE)].into_iter().chain(services).chain(pods).collect();
    cluster.bed.apply(&objects)?;
    for object in &objects {
        cluster.note(object)?;
    }
    for pod in cluster.bed.pods() {
        // Silenced connections are to go on, however long it takes.
        pod.netns.set_sysctls(&[("ipv4/tcp_retries2", "255")])?;
    }
    cluster.bed.await_agents(START)?;
    Ok(cluster)
}

fn pod(name: &str, node: &str, role: &str, mut labels: Map<String, Value>) -> Value {
    labels.insert("role".to_owned(), json!(role));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": HOME, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
    })
}

fn flows(bed: &Bed) -> Result<Vec<Flow>> {
    let mut targets = Vec::new();
    for n in 0..SERVERS.len() {
        let name = format!("{HOME}/s{n}");
        let services = if n < SERVICES { bed.service_addresses(HOME, &format!("s{n}"))? } else { Vec::new() };
        let addresses = bed.pod(&name)?.addresses.iter().copied().chain(services);
        targets.extend(addresses.map(|address: IpAddr| (name.clone(), address)));
    }
    let mut flows = Vec::new();
    for n in 0..CLIENTS {
        for (to, address) in &targets {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let target = SocketAddr::new(*address, PORT);
                let (from, to) = (format!("{HOME}/c{n}"), to.clone());
                flows.push(Flow { from, to, target, protocol, log: flow::Log::default() });
            }
        }
    }
    for family in Family::ALL {
        ensure!(flows.iter().any(|f| Family::of(f.target.ip()) == family), "no flow of {family:?}");
    }
    Ok(flows)
}

/// One change of the cluster.
enum Change {
    Put(Value),
    Delete(netpol_agent::model::ObjectRef),
}

impl Change {
    fn what(&self) -> String {
        match self {
            Self::Put(object) => object.to_string(),
            Self::Delete(key) => format!("{key} deleted"),
        }
    }

    /// What the evaluator will see.
    fn foretell(&self, cluster: &mut Cluster) -> Result<World> {
        let before = cluster.world.clone();
        match self {
            Self::Put(object) => cluster.note(object)?,
            Self::Delete(key) => cluster.forget(key)?,
        }
        Ok(std::mem::replace(&mut cluster.world, before))
    }

    fn make(&self, cluster: &mut Cluster) -> Result<()> {
        match self {
            Self::Put(object) => cluster.put(object),
            Self::Delete(key) => cluster.remove(key),
        }
    }
}

/// Draws changes that can be made.
struct Changes {
    /// Policies that are there.
    policies: Vec<(&'static str, String)>,
    /// The streaming pods, by name, with node and role.
    pods: Vec<(String, String, String)>,
    /// Pods that come and go by CNI, and pods of nodes that are not there: name and node.
    passing: BTreeMap<String, &'static str>,
}

impl Changes {
    fn new(cluster: &Cluster) -> Self {
        let role = |pod: &k8s_openapi::api::core::v1::Pod| {
            let name = pod.metadata.name.clone()?;
            let node = pod.spec.as_ref()?.node_name.clone()?;
            Some((name, node, pod.metadata.labels.as_ref()?.get("role")?.clone()))
        };
        let pods = cluster.world.pods.iter().filter_map(role).collect();
        Self { policies: Vec::new(), pods, passing: BTreeMap::new() }
    }

    fn next(&mut self, dice: &mut Dice, number: usize) -> Change {
        // Every fiftieth comes with wires of its own.
        if number % 50 == 49 {
            let node = *dice.one_of(&NODES);
            return self.pass(dice, "guest", node);
        }
        match dice.below(100) {
            0..40 => {
                let name = format!("p{}", dice.below(10));
                self.put_policy(dice, HOME, name)
            }
            40..52 if !self.policies.is_empty() => {
                let (namespace, name) = self.policies.swap_remove(dice.below(self.policies.len()));
                Change::Delete(key("NetworkPolicy", namespace, &name))
            }
            40..75 => {
                let (name, node, role) = dice.one_of(&self.pods).clone();
                Change::Put(pod(&name, &node, &role, labels(dice)))
            }
            75..80 => Change::Put(namespace(dice, HOME)),
            80..90 => {
                let name = format!("q{}", dice.below(10));
                self.put_policy(dice, ELSEWHERE, name)
            }
            _ => {
                let name = format!("far{}", dice.below(10));
                self.pass(dice, &name, "node9")
            }
        }
    }

    fn put_policy(&mut self, dice: &mut Dice, namespace: &'static str, name: String) -> Change {
        let object = policy(dice, namespace, &name);
        if !self.policies.iter().any(|(ns, known)| (*ns, known) == (namespace, &name)) {
            self.policies.push((namespace, name));
        }
        Change::Put(object)
    }

    /// A pod that nothing streams to comes or goes.
    fn pass(&mut self, dice: &mut Dice, name: &str, node: &'static str) -> Change {
        if self.passing.remove(name).is_some() {
            return Change::Delete(key("Pod", HOME, name));
        }
        self.passing.insert(name.to_owned(), node);
        let mut object = pod(name, node, "none", labels(dice));
        if !NODES.contains(&node) {
            // It is known by its object alone.
            let number = name.trim_start_matches(|c: char| !c.is_ascii_digit());
            object["status"] = json!({
                "phase": "Running",
                "podIPs": [{"ip": format!("10.244.9.{number}")}, {"ip": format!("fd00:10:244:9::{number}")}],
            });
        }
        Change::Put(object)
    }
}
