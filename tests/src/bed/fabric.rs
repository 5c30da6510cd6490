//! Nodes and outside hosts: network namespaces on one bridged network.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use netpol_agent::dataplane::kernel::{LoadOptions, Object, Sizes};
use socket2::{Domain, Socket, Type};

use super::{
    cni::BRIDGE,
    features::{self, CHECKSUMS},
    netns::Netns,
    spec::{ClusterSpec, Cni, Family, gateway, load_balancer_range, pod_range, uplink},
};

/// Outside hosts are numbered from here, nodes from 1.
const FIRST_OUTSIDE: u8 = 100;
const MAX_NODES: usize = 90;
/// How often a program is loaded before it is given up.
const ATTEMPTS: usize = 4;

/// A node: a network namespace with an uplink and a folder.
#[derive(Debug)]
pub struct Node {
    /// `metadata.name` of the Node.
    pub name: String,
    /// Zone label.
    pub zone: Option<String>,
    /// How its pods are wired.
    pub cni: Cni,
    /// The host network.
    pub netns: Arc<Netns>,
    /// Its addresses on the network between nodes, one per family.
    pub addresses: Vec<IpAddr>,
    /// Where its pods get their addresses from, one per family.
    pub pod_ranges: Vec<IpNet>,
    /// Addresses of load balancers that bring their traffic to this node, one range per family.
    pub load_balancer_ranges: Vec<IpNet>,
    /// `netns/` (the pods' namespaces), `bpf/` (a bpffs), `cni/`, the agent's socket and log.
    pub folder: PathBuf,
}

impl Node {
    /// The folder that the pods' network namespaces lie in.
    #[must_use]
    pub fn netns_dir(&self) -> PathBuf {
        self.folder.join("netns")
    }

    /// The node's side of its pods' network, which they use as their gateway.
    pub(super) fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.pod_ranges.iter().copied().find(|r| Family::of(r.addr()) == family).map(gateway)
    }
}

/// A host beyond the nodes, on their network.
#[derive(Debug)]
pub struct Outside {
    /// As scenarios call it.
    pub name: String,
    /// Its network.
    pub netns: Arc<Netns>,
    /// One per family.
    pub addresses: Vec<IpAddr>,
}

/// Everything but the pods.
#[derive(Debug)]
pub(super) struct Fabric {
    pub(super) nodes: Vec<Node>,
    pub(super) outside: Vec<Outside>,
}

impl Fabric {
    pub(super) fn build(spec: &ClusterSpec, folder: &Path) -> Result<Self> {
        ensure!(
            spec.nodes.len() <= MAX_NODES && spec.outside.len() <= MAX_NODES,
            "more than {MAX_NODES} hosts"
        );
        let network = Netns::create("fabric", &bridged(folder))?;
        network.enter(without_netfilter)?;
        let mut lines =
            vec!["link add uplink type bridge mcast_snooping 0".to_owned(), "link set uplink up".to_owned()];
        let mut nodes = Vec::new();
        for (number, node) in (1..).zip(&spec.nodes) {
            let folder = folder.join("nodes").join(&node.name);
            for part in ["netns", "bpf", "cni"] {
                fs::create_dir_all(folder.join(part)).with_context(|| folder.display().to_string())?;
            }
            let netns = host(&node.name, &folder.join("node.ns"))?;
            lines.extend(cable(&netns, &port('n', number)));
            nodes.push(Node {
                name: node.name.clone(),
                zone: node.zone.clone(),
                cni: node.cni,
                netns: Arc::new(netns),
                addresses: spec.families.iter().map(|f| uplink(*f, number).addr()).collect(),
                pod_ranges: spec.families.iter().map(|f| pod_range(*f, number)).collect(),
                load_balancer_ranges: spec.families.iter().map(|f| load_balancer_range(*f, number)).collect(),
                folder,
            });
        }
        let mut outside = Vec::new();
        for (number, name) in (FIRST_OUTSIDE..).zip(&spec.outside) {
            let netns = host(name, &folder.join(format!("outside-{name}.ns")))?;
            lines.extend(cable(&netns, &port('o', number)));
            let addresses = spec.families.iter().map(|f| uplink(*f, number).addr()).collect();
            outside.push(Outside { name: name.clone(), netns: Arc::new(netns), addresses });
        }
        network.ip(&lines)?;
        let fabric = Self { nodes, outside };
        fabric.configure()?;
        Ok(fabric)
    }

    /// Programs on the bridge's ends of the cables of all hosts, or of these nodes, as long as what is returned is held: with empty
    /// maps each lets every frame pass. A veth takes frames of programs only where it has one itself.
    pub(super) fn carry_frames(&self, folder: &Path, only: Option<&[&str]>) -> Result<Object> {
        let hosts = self.nodes.iter().map(|n| &n.netns).chain(self.outside.iter().map(|o| &o.netns));
        hosts.into_iter().try_for_each(|host| host.enter(|| features::set("eth0", CHECKSUMS, false)))?;
        let mut object = passing()?;
        let program = object.wire_program()?;
        let wanted = |name: &str| only.is_none_or(|only| only.contains(&name));
        let nodes = (1..).zip(&self.nodes).filter(|(_, node)| wanted(&node.name));
        let nodes = nodes.map(|(number, _)| port('n', number));
        let outside = (FIRST_OUTSIDE..).zip(&self.outside).filter(|_| only.is_none());
        let ports = nodes.chain(outside.map(|(number, _)| port('o', number)));
        Netns::open("fabric", &bridged(folder))?.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            for port in ports {
                let ifindex = rustix::net::netdevice::name_to_index(&socket, &port)?;
                program.attach_to_if_index(ifindex, Default::default()).context(port)?;
            }
            Ok(())
        })?;
        Ok(object)
    }

    fn configure(&self) -> Result<()> {
        for node in &self.nodes {
            node.netns.set_sysctls(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
            let mut lines = bring_up(&node.addresses);
            lines.extend(bridge(node));
            for other in self.nodes.iter().filter(|o| o.name != node.name) {
                lines.extend(routes(&other.pod_ranges, &other.addresses));
            }
            // Nobody answers under such an address without a Service, and nobody says so.
            let unserved = self.nodes.iter().flat_map(|node| &node.load_balancer_ranges);
            lines.extend(unserved.map(|range| format!("route add blackhole {range}")));
            node.netns.ip(&lines)?;
        }
        for host in &self.outside {
            let mut lines = bring_up(&host.addresses);
            for node in &self.nodes {
                lines.extend(routes(&node.pod_ranges, &node.addresses));
                lines.extend(routes(&node.load_balancer_ranges, &node.addresses));
            }
            if let Some(first) = self.nodes.first() {
                for via in &first.addresses {
                    lines.push(format!("route add default via {via}"));
                }
            }
            host.netns.ip(&lines)?;
        }
        Ok(())
    }
}

/// A program that lets every frame pass: its maps are empty. The verifier stops where a signal is pending, with a request to try again.
fn passing() -> Result<Object> {
    let load = || {
        let mut object = Object::load(&LoadOptions { pin_dir: None, sizes: Sizes::small() })?;
        object.load_wire_program()?;
        anyhow::Ok(object)
    };
    let interrupted = |error: &anyhow::Error| {
        let mut errors = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        errors.any(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    for _ in 0..ATTEMPTS {
        match load() {
            Err(error) if interrupted(&error) => {}
            result => return result,
        }
    }
    load()
}

/// Where the namespace of the bridge between hosts is bound.
fn bridged(folder: &Path) -> PathBuf {
    folder.join("fabric.ns")
}

/// The bridge's end of a host's cable.
fn port(kind: char, number: u8) -> String {
    format!("{kind}{number}")
}

/// A namespace for a host. Interfaces take over settings when they come into it, so the settings come first.
fn host(name: &str, path: &Path) -> Result<Netns> {
    let netns = Netns::create(name, path)?;
    set_host_sysctls(&netns)?;
    Ok(netns)
}

/// What every host and pod of a bed has in common.
pub(super) fn set_host_sysctls(netns: &Netns) -> Result<()> {
    netns.set_sysctls(&[
        // Duplicate address detection would take a second.
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        // Only the programs under test are to judge sources. These two are inherited from the machine.
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
        // A refusal is an answer that tests wait for.
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
    ])?;
    netns.enter(|| {
        // Kernels from 6.15: a connection that was silenced resumes within a second once it is allowed again, instead
        // of backing off further and further.
        let path = Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms");
        if path.exists() { fs::write(path, "1000").context("tcp_rto_max_ms") } else { Ok(()) }
    })
}

/// The bridge is the wire between hosts: no frame on it is a firewall's business, as every frame is where `br_netfilter` is loaded.
fn without_netfilter() -> Result<()> {
    for name in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
        let path = Path::new("/proc/sys/net/bridge").join(name);
        if path.exists() {
            fs::write(&path, "0").with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn cable(netns: &Netns, name: &str) -> [String; 1] {
    let path = netns.path().display();
    [format!("link add {name} master uplink up type veth peer name eth0 netns {path}")]
}

/// The bridge plugin would make the bridge by itself, but with the lowest of its ports' MAC addresses: it changes as
/// pods come and go, and pods would lose their gateway for a while.
fn bridge(node: &Node) -> Vec<String> {
    if node.cni != Cni::Bridge {
        return Vec::new();
    }
    let mut lines = vec![
        format!("link add {BRIDGE} address 0a:58:0a:f4:00:01 type bridge"),
        format!("link set {BRIDGE} up"),
    ];
    for range in &node.pod_ranges {
        lines.push(format!("addr add {}/{} dev {BRIDGE}", gateway(*range), range.prefix_len()));
    }
    lines
}

fn bring_up(addresses: &[IpAddr]) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    for addr in addresses {
        let prefix = uplink(Family::of(*addr), 0).prefix_len();
        lines
            .push(format!("addr add {addr}/{prefix} dev eth0{}", if addr.is_ipv6() { " nodad" } else { "" }));
    }
    lines
}

/// Routes to `ranges` by way of the host that has `gateways`.
fn routes(ranges: &[IpNet], gateways: &[IpAddr]) -> Vec<String> {
    ranges.iter().zip(gateways).map(|(range, via)| format!("route add {range} via {via}")).collect()
}
