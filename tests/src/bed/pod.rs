//! One pod: its namespace, its wires, its servers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{
    cni::{self, Attachment},
    fabric::{Node, set_host_sysctls},
    netns::Netns,
};
use crate::{
    probe::Witness,
    serve::{Port, Servers, Transport},
};

/// A running pod.
#[derive(Debug)]
pub struct Pod {
    /// `namespace/name`
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// Its network: the node's, if it asks for that.
    pub netns: Arc<Netns>,
    /// What others reach it under.
    pub addresses: Vec<IpAddr>,
    pub(crate) servers: Servers,
    pub(super) wish: Wish,
    attachment: Option<Attachment>,
    witness: OnceLock<Witness>,
}

/// What a Pod object asks of the bed. A change of it takes a new pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) node: String,
    pub(super) host_network: bool,
    /// The addresses it comes with; empty: the node's choice.
    pub(super) fixed: Vec<IpAddr>,
    pub(super) ports: Vec<Port>,
}

impl Wish {
    /// `None` for a Pod that does not run: it is not scheduled, or has ended.
    pub(super) fn of(object: &Value) -> Result<Option<Self>> {
        let pod: api::Pod = serde_json::from_value(object.clone())?;
        let Some(spec) = pod.spec else { return Ok(None) };
        let status = pod.status.unwrap_or_default();
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return Ok(None);
        }
        let Some(node) = spec.node_name.clone() else { return Ok(None) };
        let addresses = status.pod_ips.unwrap_or_default();
        let fixed = addresses
            .iter()
            .map(|ip| ip.ip.parse().with_context(|| format!("status.podIPs: {}", ip.ip)))
            .collect::<Result<_>>()?;
        let ports = ports(&spec)?;
        Ok(Some(Self { node, host_network: spec.host_network == Some(true), fixed, ports }))
    }

    /// Where its servers listen: in the node's network only under the node's own addresses, so that answers have the
    /// right source.
    pub(super) fn listen(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        if self.host_network {
            addresses.to_vec()
        } else {
            vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        }
    }

    /// Whether a pod with this wish and these addresses is what `new` asks for.
    pub(super) fn is_met_by(&self, running: &Self, addresses: &[IpAddr]) -> bool {
        let Self { node, host_network, fixed, ports } = self;
        (node, host_network, ports) == (&running.node, &running.host_network, &running.ports)
            && (fixed.is_empty() || fixed == addresses)
    }
}

fn ports(spec: &api::PodSpec) -> Result<Vec<Port>> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut found = Vec::new();
    for port in spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten()) {
        let transport = match port.protocol.as_deref() {
            None | Some("TCP") => Transport::Tcp,
            Some("UDP") => Transport::Udp,
            Some(_) => continue, // nothing here serves SCTP
        };
        let number = port
            .container_port
            .try_into()
            .with_context(|| format!("containerPort {}", port.container_port))?;
        found.push(Port { transport, number });
    }
    found.sort();
    found.dedup();
    Ok(found)
}

impl Pod {
    pub(super) fn start(runtime: &Handle, node: &Node, name: &str, wish: Wish) -> Result<Self> {
        let (netns, addresses, attachment) = if wish.host_network {
            (node.netns.clone(), node.addresses.clone(), None)
        } else {
            let id = format!("cni-{}", name.replace('/', "."));
            let path = node.netns_dir().join(&id);
            let netns = Netns::create(name, &path)?;
            set_host_sysctls(&netns)?;
            netns.ip(&["link set lo up".to_owned()])?;
            let attachment = Attachment { id, netns: path, fixed: wish.fixed.clone() };
            let addresses = cni::add(node, &attachment)?;
            netns.ip(&cni::foreign_routes(node, &wish.fixed))?;
            (Arc::new(netns), addresses, Some(attachment))
        };
        let servers = Servers::start(runtime, &netns, name, &wish.listen(&addresses), &wish.ports)?;
        let (name, node) = (name.to_owned(), node.name.clone());
        Ok(Self { name, node, netns, addresses, servers, wish, attachment, witness: OnceLock::new() })
    }

    /// Ends the pod and waits until its sockets are closed and its interface is gone.
    pub(super) fn stop(self, runtime: &Handle, node: &Node) -> Result<()> {
        runtime.block_on(self.servers.stop());
        if let Some(attachment) = &self.attachment {
            cni::delete(node, attachment)?;
            self.netns.delete()?;
        }
        Ok(())
    }

    /// Whoever watches all that arrives in the pod; `None` in the node's network, where more passes than arrives.
    pub(crate) fn witness(&self, runtime: &Handle) -> Result<Option<&Witness>> {
        if self.wish.host_network {
            return Ok(None);
        }
        if self.witness.get().is_none() {
            let witness = Witness::start(runtime, &self.netns)?;
            // Somebody else may have been quicker; theirs is as good.
            drop(self.witness.set(witness));
        }
        Ok(self.witness.get())
    }

    /// Writes into the Pod object what the kubelet would report, where the object does not say otherwise.
    pub(super) fn report(&self, node: &Node, object: &mut Value) {
        let ip = |addr: &IpAddr| json!({"ip": addr});
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        let status = &mut object["status"];
        status["podIPs"] = self.addresses.iter().map(ip).collect();
        status["podIP"] = json!(self.addresses.first());
        status["hostIPs"] = node.addresses.iter().map(ip).collect();
        status["hostIP"] = json!(node.addresses.first());
        if status["phase"].is_null() {
            status["phase"] = json!("Running");
        }
        if !status["conditions"].is_array() {
            status["conditions"] = json!([]);
        }
        if let Some(conditions) = status["conditions"].as_array_mut()
            && !conditions.iter().any(|c| c["type"] == "Ready")
        {
            conditions.push(json!({"type": "Ready", "status": "True"}));
        }
    }
}
