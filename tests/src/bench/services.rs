//! Connections from pod to pod of one node by way of a Service, and without one: netpol beside the rules of kube-proxy.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    Report, Series,
    effort::Effort,
    in_force::{By, FRONTEND_PORT, crowd_around, put_in_force, v4},
    kube_proxy::Service,
    policed::{PROBE, SERVED, pod, policies},
    report::Pair,
    traffic::{Ends, Load, last_cpu, measure},
};
use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place},
    probe::{Cell, Protocol},
};

/// Who translates: each has a node of its own.
const VARIANTS: [&str; 5] = ["netpol", "nftables", "nftables_again", "iptables", "raw"];
const BY: [By; 5] = [By::Netpol, By::Nftables, By::Nftables, By::Iptables, By::Nobody];
const START: Duration = Duration::from_secs(120);
/// Room for a connection from each port of a client, twice as many entries, and what is in closing.
const CONNECTIONS: &str = "262144";
/// The Service whose one endpoint is the server on the variant's node.
const OWN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 200, 1), FRONTEND_PORT);

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
/// their ratios to those under nftables and iptables, and to those of a pod that asks the other one itself where nothing translates and nothing
/// polices (`raw`). `nftables_again_over_nftables` is the A/A pair.
///
/// # Errors
/// If the bed cannot be built, a program is missing, or traffic does not flow.
pub fn services(quick: bool, report: &mut Report) -> Result<()> {
    let Effort { rounds, each, sizes } = Effort::new(quick, 21);
    let mut bed = build()?;
    let mut all: Vec<Vec<Series>> = LOADS.map(|(load, ..)| empty(load, "")).into();
    for &size in sizes {
        for at in 0..VARIANTS.len() {
            put_in_force(&bed, &node_name(VARIANTS[at]), BY[at], &services_of(&bed, at, size)?)?;
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
    let [netpol, nftables, again, iptables, raw] = series else { return };
    let pair = |name: &str, over, under| Pair { name: format!("{load}.{name}{size}"), over, under };
    report.compare(
        &pair("nftables_again_over_nftables", again, nftables),
        [
            pair("netpol_over_nftables", netpol, nftables),
            pair("netpol_over_iptables", netpol, iptables),
            pair("netpol_over_raw", netpol, raw),
        ],
    );
}

fn one(bed: &Bed, at: usize, load: Load, way: Way, each: Duration) -> Result<f64> {
    let (client, server) = (bed.pod(&pod_name("client", at))?, bed.pod(&pod_name("server", at))?);
    let address = v4(&server.addresses)?;
    let mut ends = Ends::direct(&client.netns, &server.netns, address.into());
    if way == Way::Service && BY[at] != By::Nobody {
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
    let server = SocketAddrV4::new(v4(&bed.pod(&pod_name("server", at))?.addresses)?, SERVED);
    let own = Service { name: "own".to_owned(), frontend: OWN, node_port: None, endpoints: vec![server] };
    Ok(crowd_around(vec![own], size, false))
}

fn node_name(variant: &str) -> String {
    variant.replace('_', "-")
}

fn pod_name(role: &str, at: usize) -> String {
    format!("bench/{role}-{}", node_name(VARIANTS[at]))
}
