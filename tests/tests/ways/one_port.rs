//! A client that reaches one backend by all ways there are, at the same time and from one port: none takes another's answers.

use std::net::{IpAddr, SocketAddr};

use netpol_tests::bed::{AgentOptions, Bed, ClusterSpec, Family, Netns, Place};
use socket2::Type;

use crate::talk::{PATIENCE, ask, namespace, open, pod, question, service};

const SERVER: &str = "t/server";
const SIZE: usize = 200;

/// Opens all ways in this order and in the reverse one, and asks by each while all are open.
fn converse(netns: &Netns, client: IpAddr, kind: Type, ways: &[(String, SocketAddr)], port: u16) {
    for (ways, port) in [(ways.to_vec(), port), (ways.iter().rev().cloned().collect(), port + 1)] {
        let mut sockets = Vec::new();
        let order: Vec<&str> = ways.iter().map(|(name, _)| name.as_str()).collect();
        for (name, to) in &ways {
            let opened = open(netns, kind, SocketAddr::new(client, port), *to)
                .and_then(|socket| ask(&socket, &question(*to, "first"), SERVER, SIZE).map(|()| socket))
                .unwrap_or_else(|error| {
                    panic!("{client} from {port}, {name} ({to}) of {order:?}: {error:#}")
                });
            sockets.push((name, *to, opened));
        }
        for round in ["again", "and again"] {
            for (name, to, socket) in &sockets {
                ask(socket, &question(*to, round), SERVER, SIZE).unwrap_or_else(|error| {
                    panic!("{client} from {port}, {round} by {name} of {order:?}: {error:#}")
                });
            }
        }
    }
}

fn all_ways(arguments: &[&str]) {
    let spec = ClusterSpec { outside: vec!["client".to_owned()], ..ClusterSpec::default() };
    let mut bed = Bed::build(&spec).unwrap();
    let arguments = arguments.iter().map(ToString::to_string).collect();
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.apply(&[
        namespace(),
        pod("server", "node1"),
        pod("near", "node1"),
        pod("far", "node2"),
        service("web", "server", ["10.96.0.21", "fd00:10:96::21"], 30_080),
        service("other", "server", ["10.96.0.22", "fd00:10:96::22"], 30_081),
    ])
    .unwrap();
    bed.await_agents(PATIENCE).unwrap();

    let places = ["t/near", "t/far"].map(|name| Place::Pod(name.to_owned()));
    for place in places.into_iter().chain([Place::Outside("client".to_owned())]) {
        for family in Family::ALL {
            let of = |addresses: &[IpAddr]| *addresses.iter().find(|a| Family::of(**a) == family).unwrap();
            let node = |name: &str| of(&bed.node(name).unwrap().addresses);
            let mut ways = vec![
                ("itself", of(&bed.pod("t/server").unwrap().addresses), 8080),
                ("node1", node("node1"), 30_080),
                ("node2", node("node2"), 30_080),
                ("node2, the other", node("node2"), 30_081),
            ];
            if matches!(place, Place::Pod(_)) {
                let service = |name: &str| of(&bed.service_addresses("t", name).unwrap());
                ways.extend([("the service", service("web"), 80), ("the other", service("other"), 80)]);
            }
            let mut ways: Vec<_> = ways
                .into_iter()
                .map(|(name, address, port)| (name.to_owned(), SocketAddr::new(address, port)))
                .collect();
            let (netns, client) = (bed.netns(&place).unwrap(), of(bed.addresses(&place).unwrap()));
            for turn in 0..u16::try_from(ways.len()).unwrap() {
                for kind in [Type::STREAM, Type::DGRAM] {
                    converse(&netns, client, kind, &ways, 20_000 + 2 * turn);
                }
                ways.rotate_left(1);
            }
        }
    }
}

#[test]
fn one_port_reaches_one_backend_by_all_ways_at_once() {
    all_ways(&[]);
}

#[test]
fn so_it_does_without_tcx_and_fast_path() {
    all_ways(&["--attach=clsact", "--fast-path=off"]);
}

#[test]
fn so_it_does_where_backends_answer_clients_directly() {
    all_ways(&["--external-mode=dsr"]);
}
