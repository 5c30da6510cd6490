//! Connections of a client outside to a node port: netpol on TC and with XDP in front, beside the rules of kube-proxy.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Report, Series,
    effort::Effort,
    in_force::{By, FRONTEND_PORT, crowd_around, put_in_force, v4},
    kube_proxy::Service,
    policed::{PROBE, SERVED, pod},
    report::Pair,
    traffic::{Ends, Load, last_cpu, measure},
};
use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place},
    flows::status,
    probe::{Cell, Protocol},
};

/// Who translates: each has a node of its own, and its port is asked there.
const VARIANTS: [(&str, By); 5] = [
    ("netpol_tc", By::Netpol),
    ("netpol_xdp", By::Netpol),
    ("nftables", By::Nftables),
    ("nftables_again", By::Nftables),
    ("iptables", By::Iptables),
];
/// Places among them: those with agents.
const TC: usize = 0;
const XDP: usize = 1;
/// Ratios that are reported: places of two variants.
const RATIOS: [(usize, usize); 5] = [(0, 2), (0, 4), (1, 2), (1, 4), (1, 0)];
/// The A/A pair.
const AGAIN: (usize, usize) = (3, 2);
const START: Duration = Duration::from_secs(120);
/// Room for a connection from each port of the client, twice as many entries, and what is in closing.
const CONNECTIONS: &str = "262144";

/// The client's host.
const CLIENT: &str = "client";
/// The node that has no variant: pods of other nodes run here, without policies.
const BEYOND: &str = "beyond";
/// All that can ask from outside, and the nodes.
const OUTSIDE: &str = "172.18.0.0/24";

/// Where the one endpoint of the Service is that is asked, whose name this is.
const BACKENDS: [(&str, Backend); 2] = [("local", Backend::Here), ("remote", Backend::Beyond)];
const LOADS: [(&str, Load); 2] = [("nodeport_rr", Load::Rr), ("nodeport_crr", Load::CrrLeft)];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Backend {
    /// On the node that is asked.
    Here,
    /// On another one.
    Beyond,
}

impl Backend {
    /// Each variant's Service has one of its own.
    const fn node_port(self, at: usize) -> u16 {
        let first = match self {
            Self::Here => 30_080,
            Self::Beyond => 30_090,
        };
        first + at as u16
    }
}

/// Measures connections from outside to a node port, with the backend on that node and on another one, among 1, 1,000 and
/// 10,000 Services, in interleaved rounds: rates, and their ratios. `nftables_again_over_nftables` is the A/A pair.
///
/// # Errors
/// If the bed cannot be built, a program is missing, or traffic does not flow as it should.
pub fn node_ports(quick: bool, report: &mut Report) -> Result<()> {
    let Effort { rounds, each, sizes } = Effort::new(quick, 21);
    let mut bed = build()?;
    for &size in sizes {
        for (place, backend) in BACKENDS {
            // The two of netpol read one folder.
            for group in [&[TC, XDP][..], &[2], &[3], &[4]] {
                let (variant, by) = VARIANTS[group[0]];
                let own = group.iter().map(|at| own(&bed, *at, place, backend)).collect::<Result<_>>()?;
                put_in_force(&bed, &node_name(variant), by, &crowd_around(own, size, true))?;
            }
            bed.await_agents(START)?;
            for (name, load) in LOADS {
                let name = format!("{name}_{place}");
                let mut series =
                    VARIANTS.map(|(variant, _)| Series::new(format!("{name}.{variant}.{size}"), "1/s"));
                let sent_on = frames(&bed)?;
                for round in 0..rounds {
                    for turn in 0..VARIANTS.len() {
                        // Nobody is always first.
                        let at = (round + turn) % VARIANTS.len();
                        let rate = one(&bed, at, load, backend, each)
                            .with_context(|| format!("{name} by {}, {size} Services", VARIANTS[at].0))?;
                        series[at].rounds.push(rate);
                    }
                }
                ensure!(backend == Backend::Here || frames(&bed)? > sent_on, "XDP has sent nothing on");
                series.iter().for_each(|one| report.add(one));
                let pair = |(over, under): (usize, usize)| Pair {
                    name: format!("{name}.{}_over_{}.{size}", VARIANTS[over].0, VARIANTS[under].0),
                    over: &series[over],
                    under: &series[under],
                };
                report.compare(&pair(AGAIN), RATIOS.map(pair));
            }
        }
    }
    Ok(())
}

fn one(bed: &Bed, at: usize, load: Load, backend: Backend, each: Duration) -> Result<f64> {
    let (client, node) = (bed.outside(CLIENT)?, bed.node(&node_name(VARIANTS[at].0))?);
    let server = bed.pod(&server(at, backend))?;
    let ends = Ends {
        client: &client.netns,
        server: &server.netns,
        listen: SocketAddrV4::new(v4(&server.addresses)?, SERVED).into(),
        dial: SocketAddrV4::new(v4(&node.addresses)?, backend.node_port(at)).into(),
    };
    measure(load, ends, each, last_cpu()?)
}

/// Frames that XDP has sent on.
fn frames(bed: &Bed) -> Result<u64> {
    let name = node_name(VARIANTS[XDP].0);
    let agent = bed.agents().iter().find(|agent| agent.node == name).context("no agent")?;
    Ok(status(agent)?.xdp_frames)
}

/// A node for each variant with a server; behind another one, that all use, a second server for each.
fn build() -> Result<Bed> {
    let names = VARIANTS.map(|(variant, _)| node_name(variant));
    let hosts = names.iter().map(String::as_str).chain([BEYOND]);
    let nodes = hosts.map(|name| NodeSpec::new(name, Cni::Ptp)).collect();
    let outside = vec![CLIENT.to_owned()];
    let mut bed = Bed::build(&ClusterSpec { nodes, outside, families: vec![Family::V4] })?;
    // The client closes first, and may use a port again after a second.
    bed.outside(CLIENT)?.netns.set_sysctls(&[("ipv4/tcp_tw_reuse", "1")])?;
    bed.carry_frames_of(&[&names[XDP]])?;
    for at in [TC, XDP] {
        let mut arguments = ["ct-max", "ct-pod-max", "ct-outside-max"]
            .map(|option| format!("--{option}={CONNECTIONS}"))
            .to_vec();
        arguments.push(format!("--xdp={}", if at == XDP { "native" } else { "off" }));
        bed.start_agent(&names[at], &AgentOptions { arguments, ..AgentOptions::default() })?;
    }
    bed.apply(&policies())?;
    let mut pods: Vec<_> =
        names.iter().flat_map(|name| [pod("server", name), pod("stranger", name)]).collect();
    pods.extend((0..VARIANTS.len()).map(|at| {
        let mut pod = pod("server", BEYOND);
        pod["metadata"]["name"] = json!(format!("server-{BEYOND}-{at}"));
        pod
    }));
    bed.apply(&pods)?;
    bed.await_agents(START)?;
    let cell = |from: Place, at: usize| Cell {
        from,
        to: server(at, Backend::Here),
        protocol: Protocol::Tcp,
        port: PROBE,
        family: Family::V4,
    };
    let stranger = |name: &str| Place::Pod(format!("bench/stranger-{name}"));
    let expected: Vec<_> = [TC, XDP]
        .into_iter()
        .flat_map(|at| {
            [(cell(Place::Outside(CLIENT.to_owned()), at), true), (cell(stranger(&names[at]), at), false)]
        })
        .collect();
    let wrong = bed.settle(&expected, START)?;
    ensure!(wrong.is_empty(), "the pods of the benchmark are not policed as they should be: {wrong:?}");
    Ok(bed)
}

/// Servers are for who comes from outside.
fn policies() -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "server", "namespace": "bench"},
            "spec": {
                "podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{"ipBlock": {"cidr": OUTSIDE}}], "ports": [{"port": PROBE}, {"port": SERVED}],
                }],
            },
        }),
    ]
}

/// The Service with the variant's server.
fn own(bed: &Bed, at: usize, place: &str, backend: Backend) -> Result<Service> {
    Ok(Service {
        name: format!("own-{place}-{at}"),
        frontend: SocketAddrV4::new(Ipv4Addr::new(10, 96, 200, 1 + at as u8), FRONTEND_PORT),
        node_port: Some(backend.node_port(at)),
        endpoints: vec![SocketAddrV4::new(v4(&bed.pod(&server(at, backend))?.addresses)?, SERVED)],
    })
}

fn node_name(variant: &str) -> String {
    variant.replace('_', "-")
}

fn server(at: usize, backend: Backend) -> String {
    match backend {
        Backend::Here => format!("bench/server-{}", node_name(VARIANTS[at].0)),
        Backend::Beyond => format!("bench/server-{BEYOND}-{at}"),
    }
}
