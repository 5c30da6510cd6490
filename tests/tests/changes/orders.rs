//! A pod that sends from its first moment, in every order in which its interface, its object and its policy can come:
//! nothing that policy forbids gets through, and in the end nothing is cut off that is allowed.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netpol_agent::ctl::api::EndpointView;
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec},
    flows::endpoints,
};
use serde_json::{Value, json};

use super::{
    chatter::{Chatter, Ear, PORT},
    cluster::key,
};

const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
const NODES: [&str; 2] = ["node1", "node2"];

/// Whom the pod may talk to, whom it may not, and who may not hear it: one of each on every node. And a stranger of the
/// same node who may not talk to it.
struct Place {
    open: Ear,
    shut: Ear,
    deaf: Ear,
}

struct Stage {
    bed: Bed,
    /// On `NODES`.
    places: [Place; 2],
}

impl Stage {
    fn new() -> Result<Self> {
        let mut bed = Bed::build(&ClusterSpec::default())?;
        bed.start_agents(&AgentOptions::default())?;
        let mut objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
            policy(
                "deaf",
                &json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}]}),
            ),
        ];
        for node in NODES {
            for role in ["open", "shut", "deaf", "stranger"] {
                objects.push(pod(&format!("{role}-{node}"), role, node));
            }
        }
        bed.apply(&objects)?;
        bed.await_agents(START)?;
        let ear = |role: &str, node: &str| Ear::open(bed.pod(&format!("t/{role}-{node}"))?.netns.path());
        let place = |node| {
            Ok::<_, anyhow::Error>(Place {
                open: ear("open", node)?,
                shut: ear("shut", node)?,
                deaf: ear("deaf", node)?,
            })
        };
        let places = [place(NODES[0])?, place(NODES[1])?];
        Ok(Self { bed, places })
    }

    fn everybody(&self) -> Result<Vec<SocketAddr>> {
        let mut targets = Vec::new();
        for node in NODES {
            for role in ["open", "shut", "deaf"] {
                let addresses = &self.bed.pod(&format!("t/{role}-{node}"))?.addresses;
                targets.extend(addresses.iter().map(|address| SocketAddr::new(*address, PORT)));
            }
        }
        Ok(targets)
    }

    fn chatter(&self, newcomer: &Newcomer) -> Result<Chatter> {
        let path = self.bed.node(newcomer.node)?.netns_dir().join("cni-t.newcomer");
        Ok(Chatter::when_there(path, self.everybody()?))
    }

    /// Brings up a pod in some way while it sends.
    fn try_order(&mut self, node: &'static str, bring_up: Order) -> Result<()> {
        let newcomer = Newcomer::on(node)?;
        let [here, there] = newcomer.places(&self.places);
        let talk = self.chatter(&newcomer)?;
        bring_up(&mut self.bed, &newcomer)?;
        self.bed.await_agents(START)?;
        let from = &newcomer.addresses;
        for place in [here, there] {
            // It has its rights in both families: so it has sent, to the others as well.
            place.open.await_from(from, START).context("what it may send")?;
        }
        // Until its interface was found, what left the node was nobody's. That has arrived once what was sent later has.
        let early = there.shut.take_from(from);
        for _ in 0..20 {
            here.open.await_from(from, START)?;
            there.open.await_from(from, START)?;
        }
        talk.stop()?;
        let leaked = here.shut.take_from(from);
        ensure!(leaked == 0, "{leaked} datagrams to somebody of its node whom it may not talk to");
        let leaked = there.shut.take_from(from);
        ensure!(leaked == 0, "{leaked} datagrams too late to somebody of the other node, {early} before");
        for place in [here, there] {
            let leaked = place.deaf.take_from(from);
            ensure!(leaked == 0, "{leaked} datagrams to somebody who may not hear it");
        }
        self.bed.delete(&[key("Pod", "t", "newcomer"), key("NetworkPolicy", "t", "newcomer")])?;
        self.bed.await_agents(START)
    }

    fn try_policy_last(&mut self, node: &'static str) -> Result<()> {
        let newcomer = Newcomer::on(node)?;
        let from = &newcomer.addresses;
        let talk = self.chatter(&newcomer)?;
        self.bed.apply(std::slice::from_ref(&newcomer.object))?;
        // Nothing isolates it yet.
        for place in &self.places {
            place.shut.await_from(from, START)?;
        }
        self.bed.apply(&[newcomers_policy()])?;
        self.bed.await_agents(START)?;
        // What was let through before has come once what was sent later to somebody else has.
        for place in &self.places {
            place.open.await_from(from, START)?;
            place.shut.take_from(from);
            for _ in 0..20 {
                place.open.await_from(from, START)?;
            }
        }
        talk.stop()?;
        for place in &self.places {
            let leaked = place.shut.take_from(from);
            ensure!(leaked == 0, "{leaked} datagrams after the policy was in force");
        }
        self.bed.delete(&[key("Pod", "t", "newcomer"), key("NetworkPolicy", "t", "newcomer")])?;
        self.bed.await_agents(START)
    }
}

/// What happens, one after the other.
type Order = fn(&mut Bed, &Newcomer) -> Result<()>;

/// The pod that comes.
struct Newcomer {
    node: &'static str,
    addresses: [IpAddr; 2],
    object: Value,
}

impl Newcomer {
    fn on(node: &'static str) -> Result<Self> {
        let number = NODES.iter().position(|name| *name == node).context("no such node")? + 1;
        let addresses = [format!("10.244.{number}.200"), format!("fd00:10:244:{number}::c8")];
        let mut object = pod("newcomer", "newcomer", node);
        object["status"] = status(&addresses);
        let [v4, v6] = addresses;
        Ok(Self { node, addresses: [v4.parse()?, v6.parse()?], object })
    }

    /// The place of its node, and of the other one.
    fn places<'a>(&self, [first, second]: &'a [Place; 2]) -> [&'a Place; 2] {
        if self.node == NODES[0] { [first, second] } else { [second, first] }
    }

    fn with_addresses(&self, addresses: &[&str]) -> Value {
        let mut object = self.object.clone();
        object["status"] = status(addresses);
        object
    }
}

fn status(addresses: &[impl AsRef<str>]) -> Value {
    let ips: Vec<_> = addresses.iter().map(|address| json!({"ip": address.as_ref()})).collect();
    if ips.is_empty() { json!({}) } else { json!({"podIPs": ips}) }
}

fn pod(name: &str, role: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "t", "labels": {"role": role}},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
    })
}

/// About the pods of one role, by the same name.
fn policy(role: &str, rules: &Value) -> Value {
    let mut spec = json!({"podSelector": {"matchLabels": {"role": role}}});
    for (field, value) in rules.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": role, "namespace": "t"}, "spec": spec,
    })
}

fn newcomers_policy() -> Value {
    let open = json!({"podSelector": {"matchLabels": {"role": "open"}}});
    policy("newcomer", &json!({"policyTypes": ["Ingress", "Egress"], "egress": [{"to": [open]}]}))
}

/// The agent of its node has found the newcomer's interface and knows nobody whose it is. From now on nobody else gets
/// through to it either.
fn await_interface(bed: &Bed, newcomer: &Newcomer) -> Result<()> {
    let agent = bed.agents().iter().find(|agent| agent.node == newcomer.node).context("no agent")?;
    let deadline = Instant::now() + START;
    loop {
        let endpoints = endpoints(agent)?;
        let is_it = |e: &EndpointView| {
            e.pod.is_none() && newcomer.addresses.iter().all(|address| e.addresses.contains(address))
        };
        if endpoints.iter().any(is_it) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the interface is not found: {endpoints:?}");
        thread::sleep(POLL);
    }
}

/// Strangers of every node do not get through to the newcomer while `rest` happens.
fn unheard(bed: &mut Bed, newcomer: &Newcomer, rest: impl FnOnce(&mut Bed) -> Result<()>) -> Result<()> {
    let ear = Ear::open(bed.pod("t/newcomer")?.netns.path())?;
    let to: Vec<_> = newcomer.addresses.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
    let (mut strangers, mut talks) = (Vec::new(), Vec::new());
    for node in NODES {
        let stranger = bed.pod(&format!("t/stranger-{node}"))?;
        strangers.extend(stranger.addresses.iter().copied());
        talks.push(Chatter::when_there(stranger.netns.path().to_owned(), to.clone()));
    }
    let await_sent = || talks.iter().try_for_each(|talk| talk.await_sent(20, START));
    await_sent()?;
    rest(bed)?;
    bed.await_agents(START)?;
    await_sent()?;
    talks.into_iter().try_for_each(Chatter::stop)?;
    let heard = ear.take_from(&strangers);
    ensure!(heard == 0, "{heard} datagrams from somebody whom it may not hear");
    Ok(())
}

#[track_caller]
fn on_every_node(orders: &[(&str, Order)]) {
    let run = || {
        let mut stage = Stage::new()?;
        for node in NODES {
            for (what, order) in orders {
                stage.try_order(node, *order).with_context(|| format!("{what} on {node}"))?;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

#[test]
fn a_pod_that_comes_after_its_policy_gets_nothing_through_from_its_first_moment() {
    on_every_node(&[
        ("policy, interface, object", |bed, new| {
            bed.apply(&[newcomers_policy()])?;
            bed.await_agents(START)?;
            bed.apply(std::slice::from_ref(&new.object))
        }),
        ("policy, object, interface", |bed, new| {
            bed.apply(&[newcomers_policy()])?;
            bed.tell(&new.object)?;
            bed.await_agents(START)?;
            bed.wire(&new.object)
        }),
        ("policy, interface that is found, object", |bed, new| {
            bed.apply(&[newcomers_policy()])?;
            bed.wire(&new.object)?;
            await_interface(bed, new)?;
            unheard(bed, new, |bed| bed.tell(&new.object))
        }),
    ]);
}

#[test]
fn a_policy_that_comes_before_the_last_of_object_and_interface_holds_from_the_first_moment() {
    on_every_node(&[
        ("interface, policy, object", |bed, new| {
            bed.wire(&new.object)?;
            await_interface(bed, new)?;
            unheard(bed, new, |bed| {
                bed.apply(&[newcomers_policy()])?;
                bed.tell(&new.object)
            })
        }),
        ("object, policy, interface", |bed, new| {
            bed.tell(&new.object)?;
            bed.apply(&[newcomers_policy()])?;
            bed.await_agents(START)?;
            bed.wire(&new.object)
        }),
    ]);
}

#[test]
fn an_address_that_comes_late_or_changes_opens_nothing_before_it_is_the_pods() {
    on_every_node(&[
        ("object without an address, interface, address", |bed, new| {
            bed.apply(&[newcomers_policy()])?;
            bed.tell(&new.with_addresses(&[]))?;
            bed.wire(&new.object)?;
            await_interface(bed, new)?;
            unheard(bed, new, |bed| bed.tell(&new.object))
        }),
        ("object with another address, interface, its own address", |bed, new| {
            bed.apply(&[newcomers_policy()])?;
            bed.tell(&new.with_addresses(&["10.244.77.7", "fd00:10:244:77::7"]))?;
            bed.wire(&new.object)?;
            await_interface(bed, new)?;
            unheard(bed, new, |bed| bed.tell(&new.object))
        }),
    ]);
}

#[test]
fn a_policy_that_comes_after_its_pod_holds_from_the_moment_the_agent_is_in_sync() {
    let run = || {
        let mut stage = Stage::new()?;
        NODES.iter().try_for_each(|node| stage.try_policy_last(node).context(*node))
    };
    run().unwrap_or_else(|e: anyhow::Error| panic!("{e:#}"));
}
