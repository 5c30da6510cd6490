//! A bed whose nodes are as the DaemonSet's pods find nodes: an API server that knows them by a token and lets them do what the shipped
//! ClusterRole says, and the places that volumes
//! stand for.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use netpol_agent::ctl::{
    Client,
    api::{Request, Response, Status},
};
use netpol_tests::{
    apiserver::Rights,
    bed::{Bed, ClusterSpec, Family, Node, Place},
    probe::{Cell, Protocol},
};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use serde_json::{Value, json};

use crate::{
    container::{Running, Spec},
    render::{Objects, WITHOUT_KUBE_PROXY, kustomize, only},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// Where a bed's nodes find its API server.
pub(crate) const SERVER: &str = "https://127.0.0.1:6443";
pub(crate) const TOKEN: &str = "a-token-that-nobody-must-see";

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]},
    })
}

/// Lets pods of this app alone reach the server.
pub(crate) fn policy(app: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "server", "namespace": "t"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}],
        },
    })
}

/// Two pods on node1, one on node2.
pub(crate) fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        policy("client"),
        pod("server", "node1"),
        pod("client", "node2"),
        pod("stranger", "node1"),
    ]
}

/// Nodes without agents.
pub(crate) fn bed() -> Bed {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let server = bed.start_api_server().unwrap();
    let rights = Rights::of_role(only(&kustomize(WITHOUT_KUBE_PROXY), "ClusterRole"));
    server.set_faults(|faults| {
        faults.tokens = [TOKEN.to_owned()].into();
        faults.rights = Some(rights);
    });
    for node in bed.nodes() {
        let account = node.folder.join("account");
        fs::create_dir(&account).unwrap();
        fs::write(account.join("ca.crt"), server.authority()).unwrap();
        fs::write(account.join("token"), TOKEN).unwrap();
        for folder in volumes(&bed, node).values() {
            fs::create_dir_all(folder).unwrap();
        }
        // As on a node, where runtimes rely on it: what is mounted there later is seen by containers that ask for it.
        let namespaces = node.netns_dir();
        mount_bind(&namespaces, &namespaces).unwrap();
        mount_change(&namespaces, MountPropagationFlags::SHARED).unwrap();
    }
    bed
}

fn volumes(bed: &Bed, node: &Node) -> BTreeMap<&'static str, PathBuf> {
    let folder = |name: &str| node.folder.join(name);
    [
        ("bpf", folder("bpf")),
        ("netns", node.netns_dir()),
        ("run", folder("run")),
        ("cni-conf", folder("net.d")),
        ("cni-bin", folder("cni-bin")),
        ("seccomp", folder("seccomp")),
        ("cgroup", bed.cgroup().expect("cgroups of version 2").to_owned()),
    ]
    .into()
}

/// A container of the DaemonSet on a node.
pub(crate) fn part<'a>(bed: &'a Bed, node: &str, objects: &'a Objects, name: &'a str) -> Spec<'a> {
    let node = bed.node(node).unwrap();
    Spec { objects, name, node, server: SERVER, volumes: volumes(bed, node) }
}

pub(crate) fn agent<'a>(bed: &'a Bed, node: &str, objects: &'a Objects) -> Spec<'a> {
    part(bed, node, objects, "agent")
}

pub(crate) fn status(node: &Node) -> Option<Status> {
    let mut client = Client::connect(&node.folder.join("run/netpol.sock")).ok()?;
    let status = client.ask(&Request::Status, |response| match response {
        Response::Status(status) => Some(*status),
        _ => None,
    });
    status.ok()
}

/// Waits until the agent has put in force what the server says, for so many pods.
#[track_caller]
pub(crate) fn await_sync(bed: &Bed, node: &str, agent: &mut Running, pods: usize) -> Status {
    let node = bed.node(node).unwrap();
    let server = bed.api_server().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(agent.ended(), None, "{}", agent.log());
        let said = status(node);
        if let Some(status) = &said
            && status.in_sync
            && status.endpoints.ready == pods
            && server.reached(&status.watches)
        {
            return said.unwrap();
        }
        assert!(Instant::now() < deadline, "{} is not in sync within {PATIENCE:?}: {said:#?}", node.name);
        thread::sleep(POLL);
    }
}

/// Pods of this app reach the server, others do not.
#[track_caller]
pub(crate) fn assert_enforced(bed: &Bed, app: &str, agents: &[Running]) {
    let cell = |from: &str, family| Cell {
        from: Place::Pod(format!("t/{from}")),
        to: "t/server".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        family,
    };
    let expected: Vec<_> = Family::ALL
        .into_iter()
        .flat_map(|family| ["client", "stranger"].map(|from| (cell(from, family), from == app)))
        .collect();
    let wrong = bed.settle(&expected, PATIENCE).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}\n{}", agents.iter().map(Running::log).collect::<String>());
}
