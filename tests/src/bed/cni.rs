//! Runs the CNI plugins as a container runtime does (CNI specification 1.0: configuration on stdin, parameters in the
//! environment, result on stdout).

use std::{
    env,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    fabric::Node,
    spec::{Cni, Family, gateway},
};

/// Debian's containernetworking-plugins install here; `CNI_PATH` overrides it.
const PLUGINS: &str = "/usr/lib/cni";
/// The bridge of a node whose pods share one L2 network.
pub(super) const BRIDGE: &str = "cni0";

/// A pod's attachment to its node.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    /// Names the pod to the plugins.
    pub(super) id: String,
    pub(super) netns: PathBuf,
    /// The addresses to give it; empty: one of each of the node's ranges.
    pub(super) fixed: Vec<IpAddr>,
}

#[derive(Deserialize)]
struct Added {
    #[serde(default)]
    ips: Vec<AddedIp>,
}
#[derive(Deserialize)]
struct AddedIp {
    address: IpNet,
}

/// Wires a pod; its addresses.
pub(super) fn add(node: &Node, pod: &Attachment) -> Result<Vec<IpAddr>> {
    let stdout = call(node, pod, "ADD")?;
    let added: Added = serde_json::from_slice(&stdout)
        .with_context(|| format!("result of the CNI plugin: {}", String::from_utf8_lossy(&stdout)))?;
    Ok(added.ips.iter().map(|ip| ip.address.addr()).collect())
}

/// Unwires a pod and gives its addresses back.
pub(super) fn delete(node: &Node, pod: &Attachment) -> Result<()> {
    call(node, pod, "DEL").map(drop)
}

pub(super) fn plugins() -> PathBuf {
    env::var_os("CNI_PATH").map_or_else(|| PLUGINS.into(), PathBuf::from)
}

fn call(node: &Node, pod: &Attachment, command: &str) -> Result<Vec<u8>> {
    let folder = plugins();
    let program = folder.join(match node.cni {
        Cni::Ptp => "ptp",
        Cni::Bridge => "bridge",
    });
    ensure!(
        program.exists(),
        "{}: no such CNI plugin (Debian: containernetworking-plugins)",
        program.display()
    );
    let config = config(node, pod).to_string();
    let failed = || format!("CNI {command} of {} on {}", pod.id, node.name);
    let output = node.netns.enter(|| run(&program, &folder, pod, command, &config)).with_context(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    // The specification has plugins report errors as JSON on stdout.
    bail!(
        "{}: {}{}",
        failed(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(
    program: &Path,
    folder: &Path,
    pod: &Attachment,
    command: &str,
    config: &str,
) -> Result<std::process::Output> {
    let mut child = Command::new(program)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &pod.id)
        .env("CNI_NETNS", &pod.netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let Some(mut stdin) = child.stdin.take() else { bail!("no stdin") };
    stdin.write_all(config.as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?)
}

fn config(node: &Node, pod: &Attachment) -> Value {
    let ipam = ipam(node, &pod.fixed);
    let mut config = match node.cni {
        Cni::Ptp => json!({"type": "ptp"}),
        // A gateway of its own would be made up for an address from elsewhere; it uses the node's.
        Cni::Bridge => {
            json!({"type": "bridge", "bridge": BRIDGE, "isGateway": !is_foreign(node, &pod.fixed)})
        }
    };
    config["cniVersion"] = json!("1.0.0");
    config["name"] = json!("bed");
    config["ipMasq"] = json!(false);
    if !pod.fixed.is_empty() && !is_foreign(node, &pod.fixed) {
        config["args"] = json!({"cni": {"ips": pod.fixed}});
    }
    config["ipam"] = ipam;
    config
}

/// Whether an address lies outside of the node's ranges.
pub(super) fn is_foreign(node: &Node, fixed: &[IpAddr]) -> bool {
    fixed.iter().any(|addr| !node.pod_ranges.iter().any(|r| r.contains(addr)))
}

fn ipam(node: &Node, fixed: &[IpAddr]) -> Value {
    if is_foreign(node, fixed) {
        return foreign(node, fixed);
    }
    let wanted = |range: &&IpNet| fixed.is_empty() || fixed.iter().any(|addr| range.contains(addr));
    let ranges: Vec<_> =
        node.pod_ranges.iter().filter(wanted).map(|subnet| json!([{"subnet": subnet}])).collect();
    let routes: Vec<_> =
        node.pod_ranges.iter().filter(wanted).map(|r| json!({"dst": default_route(r.addr())})).collect();
    json!({"type": "host-local", "dataDir": node.folder.join("cni"), "ranges": ranges, "routes": routes})
}

/// Addresses from elsewhere. With `ptp`, which insists on a gateway and replaces the prefix by a route to it, the node
/// plays the first address of the prefix, towards this pod only. With `bridge`, see [`foreign_routes`].
fn foreign(node: &Node, fixed: &[IpAddr]) -> Value {
    let (addresses, routes): (Vec<_>, Vec<_>) = match node.cni {
        Cni::Ptp => fixed
            .iter()
            .map(|addr| {
                let range = prefix_around(*addr);
                (json!({"address": range, "gateway": gateway(range)}), json!({"dst": default_route(*addr)}))
            })
            .unzip(),
        Cni::Bridge => {
            (fixed.iter().map(|addr| json!({"address": IpNet::from(*addr)})).collect(), Vec::new())
        }
    };
    json!({"type": "static", "addresses": addresses, "routes": routes})
}

/// What is left to do in a bridged pod with addresses from elsewhere: its only neighbour is the node, and this version
/// of the plugins has no words for a route of link scope.
pub(super) fn foreign_routes(node: &Node, fixed: &[IpAddr]) -> Vec<String> {
    if node.cni != Cni::Bridge || !is_foreign(node, fixed) {
        return Vec::new();
    }
    let gateways = fixed.iter().filter_map(|addr| node.gateway(Family::of(*addr)));
    gateways
        .flat_map(|via| {
            [format!("route add {via} dev eth0 scope link"), format!("route add default via {via} dev eth0")]
        })
        .collect()
}

fn prefix_around(addr: IpAddr) -> IpNet {
    match addr {
        IpAddr::V4(addr) => Ipv4Net::new_assert(addr, 24).into(),
        IpAddr::V6(addr) => Ipv6Net::new_assert(addr, 64).into(),
    }
}

fn default_route(family_of: IpAddr) -> &'static str {
    if family_of.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
}
