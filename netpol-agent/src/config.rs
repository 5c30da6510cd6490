//! The command line, validated: what reaches the rest of the agent is right.

mod flows;
mod node_ports;
mod policy;
mod source;
mod ui_bind;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
pub use flows::FlowArgs;
use netpol_common::limits;
pub use source::Source;
pub use ui_bind::UiBind;

use crate::{
    ctl::DEFAULT_SOCKET,
    dataplane::kernel::{
        AcrossChoice, AttachMode, KernelOptions, NodeServices, SIZES, Setting, Sizes, Switch, Timeouts,
        UplinkChoice, UplinkOptions, XdpChoice,
    },
    index::{ExternalMode, ServiceSettings},
    install::{CniFolders, InstallCniArgs, InstallSeccompArgs},
    model::LoadBalancing,
    source::KubeOptions,
};
pub use node_ports::NodePorts;
pub use policy::PolicyArgs;

/// Enforces NetworkPolicies and balances Services for the pods of one node.
#[derive(Clone, PartialEq, Eq, Parser, Debug)]
#[command(name = "netpol-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Subcommand, Debug)]
pub enum Command {
    /// Put the objects of a source in force, and follow their changes
    Run(Box<RunArgs>),
    /// Remove every program and map that an agent has left behind: pods are open afterwards
    Cleanup(CleanupArgs),
    /// Chain the CNI plugin to the one that the node's container runtime uses
    InstallCni(InstallCniArgs),
    /// Take the CNI plugin out again
    UninstallCni(CniFolders),
    /// Write the seccomp profile that the agent needs, for the kubelet to find
    InstallSeccomp(InstallSeccompArgs),
}

/// Arguments of `run`.
#[derive(Clone, PartialEq, Eq, Args, Debug)]
pub struct RunArgs {
    /// metadata.name of this node's Node
    #[arg(long)]
    pub node: NodeName,
    /// Where the Kubernetes objects come from: kube, an API server, or dir:PATH, a folder of manifests
    #[arg(long)]
    pub source: Source,
    /// What becomes of what policies deny.
    #[command(flatten)]
    pub policies: PolicyArgs,
    /// URL of the API server, for --source kube: https://HOST:PORT, in place of the one in the kubeconfig. Never the address of
    /// the Service default/kubernetes: it is netpol that makes that one work
    #[arg(long, value_name = "URL")]
    pub api_server: Option<String>,
    /// How to reach the API server, for --source kube. Without it the pod's service account is used, and --api-server
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Folder with the token and ca.crt of the pod's service account
    #[arg(long, value_name = "DIR", default_value = SERVICE_ACCOUNT)]
    pub service_account: PathBuf,
    /// Folder of the pods' network namespaces
    #[arg(long, value_name = "DIR", default_value = "/run/netns")]
    pub netns_dir: PathBuf,
    /// Where maps and programs outlive the agent (on a BPF file system, which is mounted if need be)
    #[arg(long, value_name = "DIR", default_value = PIN_DIR)]
    pub pin_dir: PathBuf,
    /// Socket for netpolctl
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Folder where the CNI plugin meets the agent: a socket, and a record of each pod that it has wired
    #[arg(long, value_name = "DIR", default_value = netpol_cni::DEFAULT_DIR)]
    pub cni_dir: PathBuf,
    /// Hand packets between pods of this node over directly, past the host's routing and netfilter; and those from and to other nodes' pods
    /// where nothing there matters to them (netpolctl status says whether, and if not, why)
    #[arg(long, default_value = "auto")]
    pub fast_path: FastPath,
    /// How programs are attached: tcx needs kernel 6.6
    #[arg(long, default_value = "auto")]
    pub attach: Attach,
    /// Serve Services, or leave them to another proxy (kube-proxy) and enforce policies only
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    pub services: ForServices,
    /// Let processes of the node itself (kubelet, pods with hostNetwork) reach Services
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub node_services: ForNode,
    /// The cgroup of those processes. By default the root of the unified hierarchy: all of them
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Connections, per address family. By default as many as the pinned tables have room for; where there are none yet, one for each 256 KiB
    /// of the node's memory, from 65536 to 1048576, in a power of two
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(i64::from(*SIZES.start())..=i64::from(*SIZES.end())))]
    pub ct_max: Option<u32>,
    /// Entries of the connection tables that one pod may fill, both families together (a translated connection fills two).
    /// By default a quarter of --ct-max
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(64..=1 << 24))]
    pub ct_pod_max: Option<u32>,
    /// The same for clients outside, all together, whose backends are no pods of this node. By default half of --ct-max
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(64..=1 << 24))]
    pub ct_outside_max: Option<u32>,
    /// How long a connection without packets is remembered: tcp-established (2h15m), tcp-opening (1m), tcp-closing (5m),
    /// tcp-closed (10s), udp-answered (3m), udp-unanswered (30s), icmp (30s), other (10m). May be given several times
    #[arg(long, value_name = "NAME=TIME")]
    pub ct_timeout: Vec<Setting>,
    /// Backends over all services, per address family
    #[arg(long, value_name = "N", default_value_t = limits::BACKEND, value_parser = value_parser!(u32).range(1024..=1 << 24))]
    pub backends_max: u32,
    /// Ports over all services
    #[arg(long, value_name = "N", default_value_t = limits::SERVICE, value_parser = value_parser!(u32).range(1024..=1 << 24))]
    pub services_max: u32,
    /// Addresses of the node that node ports are served under: primary (the first of each family that the Node names,
    /// internal ones before external ones), or prefixes such as 192.0.2.0/24,2001:db8::/64
    #[arg(long, value_name = "primary|CIDR,...", default_value = "primary")]
    pub nodeport_addresses: NodePorts,
    /// Answer /healthz, /livez and /readyz over HTTP here, as kube-proxy does on 0.0.0.0:10256. By default nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub healthz_bind: Option<SocketAddr>,
    /// Answer /metrics over HTTP here, as kube-proxy does on 127.0.0.1:10249; may be the same as --healthz-bind. By default nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_bind: Option<SocketAddr>,
    /// Serve the page in the browser here, over HTTP, or off. Whoever reaches it can read flows and policies: beyond 127.0.0.1
    /// put a proxy before it that asks who comes
    #[arg(long, value_name = "ADDRESS:PORT|off", default_value_t)]
    pub ui_bind: UiBind,
    /// Serve the externalIPs of Services. Whoever may write a Service can then take over any address (CVE-2020-8554)
    #[arg(long)]
    pub external_ips: bool,
    /// How the backend of a connection is chosen where a Service is reached from outside and has no annotation
    /// netpol.dev/load-balancing: random, or maglev (the same client gets the same backend on every node; each such Service
    /// takes up to 16,381 rows of --backends-max more)
    #[arg(long, value_name = "HOW", default_value = "random")]
    pub external_load_balancing: LoadBalancing,
    /// How clients from outside reach backends of other nodes: snat (under this node's address, by which answers come back) or dsr
    /// (under their own: their packets are sent on in packets from node to node, and the backend's node answers them directly).
    /// The same on all nodes
    #[arg(long, value_name = "HOW", default_value = "snat")]
    pub external_mode: ExternalMode,
    /// Interfaces that clients from outside come in by: auto (those with a default route or an address of the node), off, or
    /// names: eth0,eth1
    #[arg(long, value_name = "NAMES", default_value = "auto")]
    pub uplinks: UplinkChoice,
    /// Translate what only passes through this node before the kernel has a buffer for it (XDP): auto (on uplinks whose driver
    /// does), native (the same, and a problem where it cannot be had), generic (without a driver; saves nothing), off
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub xdp: XdpChoice,
    /// Source ports for clients from outside whose backend is on another node; apart from
    /// net.ipv4.ip_local_port_range and from node ports
    #[arg(long, value_name = "FIRST-LAST", default_value = "61000-65535")]
    pub snat_ports: PortRange,
    /// Who is told of flows.
    #[command(flatten)]
    pub flows: FlowArgs,
    /// How long a pod may be pending, and closed, before that is a problem: 10s, 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub pending_deadline: Duration,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,netpol_agent::plan=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// Arguments of `cleanup`.
#[derive(Clone, PartialEq, Eq, Args, Debug)]
pub struct CleanupArgs {
    /// The --pin-dir that the agent ran with
    #[arg(long, value_name = "DIR", default_value = PIN_DIR)]
    pub pin_dir: PathBuf,
    /// Stay until told to end, so that a DaemonSet which cleans up is ready where that is done
    #[arg(long)]
    pub stay: bool,
}

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PIN_DIR: &str = "/sys/fs/bpf/netpol";

impl RunArgs {
    /// What the kernel side is opened with; `connections` are per address family, where [`ct_max`](Self::ct_max) does not say.
    #[must_use]
    pub fn kernel(&self, connections: impl FnOnce(&Path) -> u32) -> KernelOptions {
        let ct = self.ct_max.unwrap_or_else(|| connections(&self.pin_dir));
        KernelOptions {
            pin_dir: self.pin_dir.clone(),
            netns_dir: self.netns_dir.clone(),
            sizes: Sizes { ct, backends: self.backends_max, services: self.services_max },
            attach: match self.attach {
                Attach::Auto => None,
                Attach::Tcx => Some(AttachMode::Tcx),
                Attach::Clsact => Some(AttachMode::Clsact),
            },
            node_services: match (self.node_services, self.services) {
                (ForNode::Auto, ForServices::On) => NodeServices::Auto(self.cgroup.clone()),
                (ForNode::Off, _) | (_, ForServices::Off) => NodeServices::Off,
            },
            timeouts: self.timeouts(),
            quota: self.ct_pod_max.unwrap_or(ct / 4),
            outside_quota: self.ct_outside_max.unwrap_or(ct / 2),
            uplinks: UplinkOptions {
                choice: match self.services {
                    ForServices::On => self.uplinks.clone(),
                    ForServices::Off => UplinkChoice::Off,
                },
                ports: (self.snat_ports.first, self.snat_ports.last),
                xdp: self.xdp,
            },
            across: match (self.fast_path, self.services) {
                (FastPath::Auto, ForServices::On) => AcrossChoice::Auto,
                (FastPath::Off, _) => AcrossChoice::Off("--fast-path=off"),
                (_, ForServices::Off) => AcrossChoice::Off("--services=off"),
            },
        }
    }
}

impl RunArgs {
    /// Where the API server is.
    #[must_use]
    pub fn api_server(&self) -> KubeOptions {
        KubeOptions {
            server: self.api_server.clone(),
            kubeconfig: self.kubeconfig.clone(),
            service_account: self.service_account.clone(),
        }
    }

    /// Whether packets between pods of this node may go past the host. Not where the host's netfilter translates Services: answers
    /// have to come by there.
    #[must_use]
    pub fn hand_over(&self) -> Switch {
        match self.services {
            ForServices::On => self.fast_path.into(),
            ForServices::Off => Switch::Off,
        }
    }

    /// What to do about Services.
    #[must_use]
    pub fn service_settings(&self) -> ServiceSettings {
        let NodePorts(node_ports) = self.nodeport_addresses.clone();
        ServiceSettings {
            node_ports,
            external_ips: self.external_ips,
            external_load_balancing: self.external_load_balancing,
            external_mode: match self.services {
                ForServices::On => self.external_mode,
                ForServices::Off => ExternalMode::Snat,
            },
        }
    }

    fn timeouts(&self) -> Timeouts {
        let mut timeouts = Timeouts::default();
        self.ct_timeout.iter().for_each(|setting| timeouts.set(setting));
        timeouts
    }
}

/// Values of `--fast-path`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum FastPath {
    /// Where the interfaces allow it
    Auto,
    /// Never
    Off,
}

impl From<FastPath> for Switch {
    fn from(value: FastPath) -> Self {
        match value {
            FastPath::Auto => Self::On,
            FastPath::Off => Self::Off,
        }
    }
}

/// Values of `--attach`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Attach {
    /// tcx where the kernel has it, else clsact
    Auto,
    /// Links (kernel 6.6)
    Tcx,
    /// Filters of a clsact qdisc
    Clsact,
}

/// Values of `--services`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum ForServices {
    /// Translate and balance them
    On,
    /// Leave them to another proxy
    Off,
}

/// Values of `--node-services`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum ForNode {
    /// Where the kernel has cgroups of version 2
    Auto,
    /// No
    Off,
}

/// The name of a Node: a DNS subdomain (RFC 1123).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeName(String);

impl NodeName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a name that a Node can have.
    #[error(
        "a node's name has lower-case letters, digits, '-' and '.', begins and ends with a letter or digit, \
             and is at most 253 long"
    )]
    NodeName,
    /// Not a range of ports.
    #[error("ports are FIRST-LAST, from 1 to 65535")]
    Ports,
    /// Not an address for the page.
    #[error("the page is served at ADDRESS:PORT, or off")]
    Ui,
    /// Not a source.
    #[error("a source is kube or dir:PATH")]
    Source,
}

impl FromStr for NodeName {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let label = |label: &str| {
            label.starts_with(alphanumeric)
                && label.ends_with(alphanumeric)
                && label.chars().all(|c| alphanumeric(c) || c == '-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            Ok(Self(text.into()))
        } else {
            Err(ConfigError::NodeName)
        }
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    /// Not 0.
    pub first: u16,
    /// Not below the first.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let ends =
            text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match ends {
            Some((first, last)) if first != 0 && first <= last => Ok(Self { first, last }),
            _ => Err(ConfigError::Ports),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
