//! A policy that comes after the pod that it isolates, which sends all the time.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netpol_tests::bed::{AgentOptions, Bed, ClusterSpec};
use serde_json::{Value, json};

use super::{
    chatter::{Chatter, Ear, PORT},
    cluster::key,
};

const START: Duration = Duration::from_secs(60);
const NODES: [&str; 2] = ["node1", "node2"];

/// A cluster with somebody whom the pod may talk to, and somebody whom it may not.
struct Stage {
    bed: Bed,
    open: Ear,
    shut: Ear,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut bed = Bed::build(&ClusterSpec::default())?;
        bed.start_agents(&AgentOptions::default())?;
        let pod = |name: &str, node: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "t", "labels": {"role": name}},
                "spec": {"nodeName": node, "containers": [{"name": "c"}]},
            })
        };
        bed.apply(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
            pod("open", "node2"),
            pod("shut", "node2"),
        ])?;
        bed.await_agents(START)?;
        let ear = |pod: &str| Ear::open(bed.pod(pod)?.netns.path());
        let (open, shut) = (ear("t/open")?, ear("t/shut")?);
        Ok(Self { bed, open, shut })
    }

    fn targets(&self, pod: &str) -> Result<Vec<SocketAddr>> {
        Ok(self.bed.pod(pod)?.addresses.iter().map(|address| SocketAddr::new(*address, PORT)).collect())
    }
}

fn addresses(node: &str) -> Result<[IpAddr; 2]> {
    let number = NODES.iter().position(|name| *name == node).context("no such node")? + 1;
    Ok([format!("10.244.{number}.200").parse()?, format!("fd00:10:244:{number}::c8").parse()?])
}

fn newcomer(node: &str) -> Value {
    let number = NODES.iter().position(|name| *name == node).map_or(0, |at| at + 1);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "newcomer", "namespace": "t", "labels": {"role": "newcomer"}},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
        "status": {"podIPs": [{"ip": format!("10.244.{number}.200")}, {"ip": format!("fd00:10:244:{number}::c8")}]},
    })
}

fn policy() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "newcomer", "namespace": "t"},
        "spec": {
            "podSelector": {"matchLabels": {"role": "newcomer"}}, "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"role": "open"}}}]}],
        },
    })
}

#[track_caller]
fn on_every_node(test: fn(&mut Stage, &str) -> Result<()>) {
    let run = || {
        let mut stage = Stage::new()?;
        NODES.iter().try_for_each(|node| test(&mut stage, node))
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

#[test]
fn a_policy_that_comes_after_its_pod_holds_from_the_moment_the_agent_is_in_sync() {
    on_every_node(|stage, node| {
        let object = newcomer(node);
        let addresses = addresses(node)?;
        let path = stage.bed.node(node)?.netns_dir().join("cni-t.newcomer");
        let targets = [stage.targets("t/open")?, stage.targets("t/shut")?].concat();
        let talk = Chatter::when_there(path, targets);
        stage.bed.apply(&[object])?;
        stage.bed.await_agents(START)?;
        // Nothing isolates it yet.
        stage.shut.await_from(&addresses, START)?;
        stage.bed.apply(&[policy()])?;
        stage.bed.await_agents(START)?;
        // What was let through before has come once what was sent later to somebody else has.
        stage.open.await_from(&addresses, START)?;
        stage.shut.take_from(&addresses);
        for _ in 0..20 {
            stage.open.await_from(&addresses, START)?;
        }
        let leaked = stage.shut.take_from(&addresses);
        ensure!(leaked == 0, "{leaked} datagrams after the policy was in force");
        talk.stop()?;
        stage.bed.delete(&[key("Pod", "t", "newcomer"), key("NetworkPolicy", "t", "newcomer")])?;
        stage.bed.await_agents(START)
    });
}
