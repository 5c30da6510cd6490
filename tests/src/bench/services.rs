//! Connections from pod to pod of one node by way of a Service, and without one: netpol beside the rules of kube-proxy.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Report, Series,
    kube_proxy::{self, Service},
    policed::{PROBE, SERVED, pod, policies},
    traffic::{Ends, Load, last_cpu, measure},
};
use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place},
    probe::{Cell, Protocol},
};

/// Who translates: each has a node of its own.
const VARIANTS: [&str; 4] = ["netpol", "nftables", "nftables_again", "iptables"];
/// How many Services there are.
const SIZES: [usize; 3] = [1, 1_000, 10_000];
const START: Duration = Duration::from_secs(120);
/// Room for a connection from each port of a client, twice as many entries, and what is in closing.
const CONNECTIONS: &str = "262144";
/// The Service whose one endpoint is the server on the variant's node.
const OWN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 200, 1), FRONTEND_PORT);
const FRONTEND_PORT: u16 = 80;

/// What is asked for.
const LOADS: [(&str, Load, Way); 4] = [
    ("svc_rr", Load::Rr, Way::Service),
    ("svc_crr", Load::Crr, Way::Service),
    ("rr", Load::Rr, Way::Pod),
    ("crr", Load::Crr, Way::Pod),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Service,
    Pod,
}

/// Measures connections to a Service and to its pod, among 1, 1,000 and 10,000 Services, in interleaved rounds: rates, and
/// their ratios to those under nftables and iptables. `nftables_again_over_nftables` is the A/A pair.
///
/// # Errors
/// If the bed cannot be built, a program is missing, or traffic does not flow.
pub fn services(quick: bool, report: &mut Report) -> Result<()> {
    let (rounds, each) =
        if quick { (5, Duration::from_millis(60)) } else { (21, Duration::from_millis(100)) };
    let mut bed = build()?;
    let mut all: Vec<Vec<Series>> = LOADS.map(|(load, ..)| empty(load, "")).into();
    for size in SIZES {
        for at in 0..VARIANTS.len() {
            translate(&bed, at, &services_of(&bed, at, size)?)?;
        }
        bed.await_agents(START)?;
        for ((name, load, way), pooled) in LOADS.iter().zip(&mut all) {
            let mut series = empty(name, &format!(".{size}"));
            for round in 0..rounds {
                for turn in 0..VARIANTS.len() {
                    // Nobody is always first.
                    let at = (round + turn) % VARIANTS.len();
                    let rate = one(&bed, at, *load, *way, each)
                        .with_context(|| format!("{name} by {}, {size} Services", VARIANTS[at]))?;
                    series[at].rounds.push(rate);
                    pooled[at].rounds.push(rate);
                }
            }
            series.iter().for_each(|one| report.add(one));
            ratios(report, name, &format!(".{size}"), &series);
        }
    }
    for ((name, ..), series) in LOADS.iter().zip(&all) {
        ratios(report, name, "", series);
    }
    Ok(())
}

fn empty(load: &str, size: &str) -> Vec<Series> {
    VARIANTS.iter().map(|variant| Series::new(format!("{load}.{variant}{size}"), "1/s")).collect()
}

/// `size` is the end of each name; without one they are over all sizes.
fn ratios(report: &mut Report, load: &str, size: &str, series: &[Series]) {
    let [netpol, nftables, again, iptables] = series else { return };
    report.add_ratio(format!("{load}.netpol_over_nftables{size}"), netpol, nftables);
    report.add_ratio(format!("{load}.netpol_over_iptables{size}"), netpol, iptables);
    report.add_ratio(format!("{load}.nftables_again_over_nftables{size}"), again, nftables);
}

fn one(bed: &Bed, at: usize, load: Load, way: Way, each: Duration) -> Result<f64> {
    let (client, server) = (bed.pod(&pod_name("client", at))?, bed.pod(&pod_name("server", at))?);
    let address = v4(&server.addresses)?;
    let mut ends = Ends::direct(&client.netns, &server.netns, address.into());
    if way == Way::Service {
        (ends.listen, ends.dial) = (SocketAddrV4::new(address, SERVED).into(), OWN.into());
    }
    measure(load, ends, each, last_cpu()?)
}

/// One node for each variant, two pods on each; netpol has policies at both ends besides, the others have none in force.
fn build() -> Result<Bed> {
    let nodes = VARIANTS.iter().map(|v| NodeSpec::new(&node_name(v), Cni::Ptp)).collect();
    let mut bed = Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: vec![Family::V4] })?;
    let arguments = ["ct-max", "ct-pod-max"].map(|option| format!("--{option}={CONNECTIONS}")).to_vec();
    bed.start_agent(&node_name(VARIANTS[0]), &AgentOptions { arguments, ..AgentOptions::default() })?;
    bed.apply(&policies())?;
    let roles = ["client", "server", "stranger"];
    let pods: Vec<_> =
        (0..VARIANTS.len()).flat_map(|at| roles.map(|role| pod(role, &node_name(VARIANTS[at])))).collect();
    bed.apply(&pods)?;
    bed.await_agents(START)?;
    let cell = |role: &str| Cell {
        from: Place::Pod(pod_name(role, 0)),
        to: pod_name("server", 0),
        protocol: Protocol::Tcp,
        port: PROBE,
        family: Family::V4,
    };
    let wrong = bed.settle(&[(cell("client"), true), (cell("stranger"), false)], START)?;
    ensure!(wrong.is_empty(), "the pods of the benchmark are not policed as they should be: {wrong:?}");
    Ok(bed)
}

/// `size` Services, a variant's own in the middle.
fn services_of(bed: &Bed, at: usize, size: usize) -> Result<Vec<Service>> {
    let server = v4(&bed.pod(&pod_name("server", at))?.addresses)?;
    let own =
        Service { name: "own".to_owned(), frontend: OWN, endpoints: vec![SocketAddrV4::new(server, SERVED)] };
    let mut services: Vec<Service> = (1..size).map(crowd).collect();
    services.insert(services.len() / 2, own);
    Ok(services)
}

/// A Service of others, with two endpoints elsewhere.
fn crowd(n: usize) -> Service {
    let (high, low) = ((n / 250) as u8, (n % 250) as u8 + 1);
    let endpoint = |subnet: u8| SocketAddrV4::new(Ipv4Addr::new(10, 244 - subnet, high, low), 8080);
    Service {
        name: format!("crowd{n}"),
        frontend: SocketAddrV4::new(Ipv4Addr::new(10, 96, high, low), FRONTEND_PORT),
        endpoints: vec![endpoint(1), endpoint(2)],
    }
}

/// Puts a variant's Services in force.
fn translate(bed: &Bed, at: usize, services: &[Service]) -> Result<()> {
    let node = bed.node(&node_name(VARIANTS[at]))?;
    match VARIANTS[at] {
        "netpol" => write(bed, services),
        "iptables" => node.netns.feed(&mut Command::new("iptables-restore"), &kube_proxy::iptables(services)),
        _ => {
            let rules = kube_proxy::nftables(services, v4(&node.addresses)?);
            node.netns.feed(Command::new("nft").args(["-f", "-"]), &rules)
        }
    }
    .with_context(|| format!("{} Services for {}", services.len(), VARIANTS[at]))
}

/// Has the folder of manifests hold these Services and no others.
fn write(bed: &Bed, services: &[Service]) -> Result<()> {
    let items: Vec<Value> = services.iter().flat_map(objects).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let (draft, place) = (bed.folder().join("services.draft"), bed.manifests().join("services.json"));
    fs::write(&draft, list.to_string()).and_then(|()| fs::rename(&draft, &place))?;
    Ok(())
}

fn objects(service: &Service) -> [Value; 2] {
    let Service { name, frontend, endpoints } = service;
    let to = endpoints.first().map_or(SERVED, SocketAddrV4::port);
    let ready: Vec<Value> =
        endpoints.iter().map(|e| json!({"addresses": [e.ip()], "conditions": {"ready": true}})).collect();
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "clusterIP": frontend.ip(), "clusterIPs": [frontend.ip()],
                "ports": [{"port": frontend.port(), "targetPort": to, "protocol": "TCP"}],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "bench", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": to, "protocol": "TCP"}],
            "endpoints": ready,
        }),
    ]
}

fn node_name(variant: &str) -> String {
    variant.replace('_', "-")
}

fn pod_name(role: &str, at: usize) -> String {
    format!("bench/{role}-{}", node_name(VARIANTS[at]))
}

fn v4(addresses: &[IpAddr]) -> Result<Ipv4Addr> {
    let found = addresses.iter().find_map(|addr| match addr {
        IpAddr::V4(addr) => Some(*addr),
        IpAddr::V6(_) => None,
    });
    found.context("no IPv4 address")
}
