//! The test bed: clusters built from network namespaces.
//!
//! A bridge in a namespace of its own joins nodes and outside hosts; the real CNI plugins wire the pods; small servers
//! answer in them. What an API server would hold lies in a folder that the agents, real processes in the nodes'
//! namespaces, watch. Everything hangs on one folder under `/run/netpol-bed` and goes with it, whatever happens:
//! when the [`Bed`] is dropped, on a signal, and else when the next bed comes.

mod agent;
mod api;
mod cgroup;
mod chain;
mod cleanup;
mod cni;
mod dir;
mod fabric;
mod features;
mod keep;
mod netns;
mod object;
mod pod;
mod pods;
mod spec;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use netpol_agent::dataplane::kernel::Object;
use rustix::mount::{MountFlags, mount};
use serde_json::json;
use tokio::runtime::{Handle, Runtime};

pub use agent::{Agent, AgentOptions, program};
pub use api::Source;
pub use chain::{Called, Chain, Container, sandbox};
pub use fabric::{Node, Outside};
pub use keep::hold;
pub use netns::Netns;
pub use object::object_ref;
pub use pod::Pod;
pub use spec::{ClusterSpec, Cni, Family, NodeSpec};

use api::Api;
use cgroup::Cgroup;
use fabric::Fabric;
use object::Objects;

/// A cluster. Not to be used on a thread of a tokio runtime: it blocks on its own.
#[derive(Debug)]
pub struct Bed {
    folder: PathBuf,
    fabric: Fabric,
    objects: Objects,
    pods: BTreeMap<String, Pod>,
    agents: Vec<Agent>,
    api: Option<Api>,
    runtime: Option<Runtime>,
    families: Vec<Family>,
    cgroup: Option<Cgroup>,
    carriers: Option<Carriers>,
}

/// Programs on the cables, held.
struct Carriers(#[expect(dead_code, reason = "held, not read")] Box<Object>);

impl fmt::Debug for Carriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carriers")
    }
}

/// Where a probe starts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// `namespace/name`
    Pod(String),
    /// A node's host network.
    Node(String),
    /// A host beyond the nodes.
    Outside(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => f.write_str(name),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::Outside(name) => write!(f, "outside:{name}"),
        }
    }
}

impl Bed {
    /// Builds nodes and outside hosts, and a Node object for each node. There are no pods and no agents yet.
    ///
    /// # Errors
    /// If something is missing on this machine or the kernel refuses; what was built so far is removed.
    pub fn build(spec: &ClusterSpec) -> Result<Self> {
        let folder = dir::create()?;
        cleanup::register(&folder);
        Self::build_in(&folder, spec).inspect_err(|_| take_down(&folder))
    }

    fn build_in(folder: &Path, spec: &ClusterSpec) -> Result<Self> {
        let fabric = Fabric::build(spec, folder)?;
        for node in &fabric.nodes {
            let target = node.folder.join("bpf");
            mount("bpf", &target, "bpf", MountFlags::empty(), None)
                .with_context(|| target.display().to_string())?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bed")
            .enable_all()
            .build()?;
        let mut bed = Self {
            folder: folder.to_owned(),
            objects: Objects::new(folder.join("manifests"), &spec.families)?,
            fabric,
            pods: BTreeMap::new(),
            agents: Vec::new(),
            api: None,
            runtime: Some(runtime),
            families: spec.families.clone(),
            cgroup: Cgroup::enter()?,
            carriers: None,
        };
        for node in &bed.fabric.nodes {
            bed.objects.put(node_object(node))?;
        }
        Ok(bed)
    }

    /// Has the cables between hosts carry what XDP programs send. Nobody leaves checksums to a device, which a frame that never becomes
    /// the kernel's buffer would not get.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn carry_frames(&mut self) -> Result<()> {
        self.carriers = Some(Carriers(Box::new(self.fabric.carry_frames(&self.folder, None)?)));
        Ok(())
    }

    /// The same for the cables of these nodes alone. Other hosts' cables are as they are, but for the checksums.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn carry_frames_of(&mut self, nodes: &[&str]) -> Result<()> {
        self.carriers = Some(Carriers(Box::new(self.fabric.carry_frames(&self.folder, Some(nodes))?)));
        Ok(())
    }

    /// The bed's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cgroup that this process and the agents are in as long as there are beds: agents let its processes reach Services.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_ref().map(Cgroup::path)
    }

    /// The folder of manifests that the agents watch.
    #[must_use]
    pub fn manifests(&self) -> &Path {
        self.objects.folder()
    }

    /// Families of the cluster.
    #[must_use]
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// All nodes, in the order of their numbers.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.fabric.nodes
    }

    /// A node by name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.fabric.nodes.iter().find(|n| n.name == name).with_context(|| format!("there is no node {name}"))
    }

    /// An outside host by name.
    ///
    /// # Errors
    /// If there is none.
    pub fn outside(&self, name: &str) -> Result<&Outside> {
        self.fabric
            .outside
            .iter()
            .find(|o| o.name == name)
            .with_context(|| format!("there is no outside host {name}"))
    }

    /// All running pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// A running pod by `namespace/name`.
    ///
    /// # Errors
    /// If there is none.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods.get(name).with_context(|| format!("pod {name} is not running"))
    }

    /// The addresses that a Service answers under.
    ///
    /// # Errors
    /// If there is none, or it is headless.
    pub fn service_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>> {
        self.objects.service_addresses(namespace, name)
    }

    /// The addresses that a load balancer has for a Service.
    ///
    /// # Errors
    /// If there is no such Service.
    pub fn load_balancer_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>> {
        self.objects.load_balancer_addresses(namespace, name)
    }

    /// The network that a probe from a place starts in.
    ///
    /// # Errors
    /// If there is no such place.
    pub fn netns(&self, place: &Place) -> Result<Arc<Netns>> {
        Ok(match place {
            Place::Pod(name) => self.pod(name)?.netns.clone(),
            Place::Node(name) => self.node(name)?.netns.clone(),
            Place::Outside(name) => self.outside(name)?.netns.clone(),
        })
    }

    /// The addresses of a place.
    ///
    /// # Errors
    /// If there is no such place.
    pub fn addresses(&self, place: &Place) -> Result<&[IpAddr]> {
        Ok(match place {
            Place::Pod(name) => &self.pod(name)?.addresses,
            Place::Node(name) => &self.node(name)?.addresses,
            Place::Outside(name) => &self.outside(name)?.addresses,
        })
    }

    /// The addresses of a place and, for a node, those that it has towards its pods.
    ///
    /// # Errors
    /// If there is no such place.
    pub fn all_addresses(&self, place: &Place) -> Result<Vec<IpAddr>> {
        let mut addresses = self.addresses(place)?.to_vec();
        if let Place::Node(name) = place {
            let node = self.node(name)?;
            addresses.extend(self.families.iter().filter_map(|f| node.gateway(*f)));
        }
        Ok(addresses)
    }

    /// The runtime that servers and probes run on.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        match &self.runtime {
            Some(runtime) => runtime.handle(),
            None => unreachable!("the runtime goes with the bed"),
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.agents.clear();
        self.api = None;
        if let Some(runtime) = self.runtime.take() {
            // Servers hold their namespaces.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        }
        if self.folder.exists() {
            take_down(&self.folder);
        }
    }
}

/// Removes a bed; nobody is left to whom an error could be returned.
fn take_down(folder: &Path) {
    match dir::remove(folder) {
        Ok(()) => cleanup::forget(folder),
        Err(e) => eprintln!("taking down {}: {e:#}", folder.display()),
    }
}

fn node_object(node: &Node) -> serde_json::Value {
    let mut labels = json!({"kubernetes.io/hostname": node.name});
    if let Some(zone) = &node.zone {
        labels["topology.kubernetes.io/zone"] = json!(zone);
    }
    let addresses: Vec<_> =
        node.addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": node.pod_ranges.first(), "podCIDRs": node.pod_ranges},
        "status": {"addresses": addresses},
    })
}
