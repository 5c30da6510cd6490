//! The kernel side opened in a node of a bed, without the rest of the agent.

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use netpol_agent::dataplane::{
    Dataplane, Interface, Op,
    kernel::{
        AcrossChoice, AttachMode, Change, Kernel, KernelOptions, NodeServices, Sizes, Timeouts, UplinkChoice,
        UplinkOptions,
    },
};
use netpol_common::{
    endpoint::{EndpointRow, flags},
    peer::PeerRow,
    version::ABI_VERSION,
};
use netpol_tests::bed::{Bed, Node};
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Where the agent of a node pins.
pub(crate) fn pin_dir(node: &Node) -> PathBuf {
    node.folder.join("bpf").join("netpol")
}

pub(crate) fn options(node: &Node, attach: Option<AttachMode>) -> KernelOptions {
    KernelOptions {
        pin_dir: pin_dir(node),
        netns_dir: node.netns_dir(),
        sizes: Sizes::small(),
        attach,
        node_services: NodeServices::Off,
        timeouts: Timeouts::default(),
        quota: netpol_common::limits::CT,
        outside_quota: netpol_common::limits::CT,
        uplinks: uplinks(UplinkChoice::Off),
        across: AcrossChoice::Auto,
    }
}

pub(crate) fn uplinks(choice: UplinkChoice) -> UplinkOptions {
    UplinkOptions { choice, ..UplinkOptions::default() }
}

/// Without uplinks: most tests are about the pods' interfaces.
pub(crate) fn open(bed: &Bed, node: &str, attach: Option<AttachMode>) -> Kernel {
    let node = bed.node(node).unwrap();
    node.netns.enter(|| Ok(Kernel::open(&options(node, attach))?)).unwrap()
}

pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
        ]}]},
    })
}

/// Waits for a change that is what was asked for.
#[track_caller]
pub(crate) fn await_change<T>(
    bed: &Bed,
    kernel: &mut Kernel,
    what: &str,
    wanted: impl Fn(&Change) -> Option<T>,
) -> T {
    let found = bed.runtime().block_on(async {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let change = kernel.changes.recv().await.expect("discovery has ended");
                if let Some(found) = wanted(&change) {
                    return found;
                }
            }
        })
        .await
    });
    found.unwrap_or_else(|_| panic!("no change within {PATIENCE:?}: {what}"))
}

/// Waits until the interface of a pod is reported with all of its addresses.
#[track_caller]
pub(crate) fn await_pod(bed: &Bed, kernel: &mut Kernel, pod: &str) -> Interface {
    let mut wanted = bed.pod(pod).unwrap().addresses.clone();
    wanted.sort_unstable();
    let complete = |change: &Change| match change {
        Change::Up(interface) if interface.addresses == wanted => Some(interface.clone()),
        _ => None,
    };
    let known = kernel.known.iter().find_map(complete);
    known.unwrap_or_else(|| await_change(bed, kernel, pod, complete))
}

/// Lets everything to and from a pod pass.
pub(crate) fn open_pod(kernel: &mut Kernel, interface: &Interface) {
    let Interface { ifindex, master, addresses, .. } = interface;
    for addr in addresses {
        let row = PeerRow { ifindex: *ifindex, ..PeerRow::default() };
        kernel.maps.apply(&Op::PutPeer(*addr, row)).unwrap();
    }
    let row =
        EndpointRow { flags: flags::READY | flags::FAST_PATH, master: *master, ..EndpointRow::default() };
    kernel.maps.apply(&Op::PutEndpoint(*ifindex, row)).unwrap();
}

/// The interfaces that links are pinned for.
pub(crate) fn pinned_interfaces(node: &Node) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(pin_dir(node).join(format!("v{ABI_VERSION}")).join("links"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

pub(crate) fn v4(addresses: &[IpAddr]) -> IpAddr {
    *addresses.iter().find(|addr| addr.is_ipv4()).unwrap()
}
