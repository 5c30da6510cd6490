//! A node with two uplinks: what came in by one is answered by it, whatever way the node's own routing prefers.
//!
//! ```text
//! first ── node1 ── second ── clients
//!            └───── node2
//! ```
//!
//! `first` is the router of node1's preferred default route, and forwards nothing.

use std::net::{IpAddr, SocketAddr};

use netpol_tests::bed::{AgentOptions, Bed, ClusterSpec, Family};
use socket2::Type;

use crate::talk::{PATIENCE, ask, namespace, open, pod, question, service};

/// The second uplink takes less than the pods' interfaces.
const NARROW: u32 = 1300;
const CLIENT: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];
const NEAR: u16 = 30_090;
const FAR: u16 = 30_091;
const NOBODYS: u16 = 30_092;

/// Joins node1 and `second` by another link, with the clients behind it.
fn join(bed: &Bed) {
    let (first, second) = (bed.outside("first").unwrap(), bed.outside("second").unwrap());
    let node = bed.node("node1").unwrap();
    let path = second.netns.path().display();
    let mut lines = vec![
        format!("link add up2 mtu {NARROW} type veth peer name up2 mtu {NARROW} netns {path}"),
        "link set up2 up".to_owned(),
        "addr add 192.168.78.1/24 dev up2".to_owned(),
        "addr add fd00:78::1/64 dev up2 nodad".to_owned(),
    ];
    lines.extend(first.addresses.iter().map(|via| format!("route add default via {via} metric 100")));
    // For IPv6 the kernel looks at routes of the best metric only, whichever interface is asked for.
    let by_second = [
        "route add default via 192.168.78.2 dev up2 metric 200",
        "route append default via fd00:78::2 dev up2 metric 100",
    ];
    let second_lines = [
        "link set up2 up".to_owned(),
        "addr add 192.168.78.2/24 dev up2".to_owned(),
        "addr add fd00:78::2/64 dev up2 nodad".to_owned(),
        format!("addr add {}/32 dev lo", CLIENT[0]),
        format!("addr add {}/128 dev lo nodad", CLIENT[1]),
    ];
    node.netns.ip(&lines).unwrap();
    second.netns.ip(&second_lines).unwrap();
    node.netns.ip(&by_second.map(str::to_owned)).unwrap();
    let to_node = node.addresses.iter().zip(["192.168.78.1", "fd00:78::1"]);
    let routes: Vec<_> = to_node.map(|(node, via)| format!("route add {node} via {via} dev up2")).collect();
    second.netns.ip(&routes).unwrap();
}

fn answers_return(arguments: &[&str]) {
    let outside = ["first", "second"].map(str::to_owned).into();
    let mut bed = Bed::build(&ClusterSpec { outside, ..ClusterSpec::default() }).unwrap();
    join(&bed);
    let arguments = arguments.iter().map(ToString::to_string).collect();
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.apply(&[
        namespace(),
        pod("near", "node1"),
        pod("far", "node2"),
        service("near", "near", ["10.96.0.31", "fd00:10:96::31"], NEAR),
        service("far", "far", ["10.96.0.32", "fd00:10:96::32"], FAR),
        service("nobodys", "nobody", ["10.96.0.33", "fd00:10:96::33"], NOBODYS),
    ])
    .unwrap();
    bed.await_agents(PATIENCE).unwrap();

    let netns = &bed.outside("second").unwrap().netns;
    for (client, family) in CLIENT.into_iter().zip(Family::ALL) {
        let of = |addresses: &[IpAddr]| *addresses.iter().find(|a| Family::of(**a) == family).unwrap();
        let from = SocketAddr::new(client.parse().unwrap(), 0);
        let node = of(&bed.node("node1").unwrap().addresses);
        for (port, server) in [(NEAR, "t/near"), (FAR, "t/far")] {
            let to = SocketAddr::new(node, port);
            // Beyond what fits in one packet the answer's sender must learn of the way; a stream repeats what was lost.
            for (kind, sizes) in [(Type::STREAM, &[200, 50_000][..]), (Type::DGRAM, &[200][..])] {
                let socket = open(netns, kind, from, to).unwrap_or_else(|error| panic!("{to}: {error:#}"));
                for size in sizes {
                    ask(&socket, &question(to, "by the second"), server, *size)
                        .unwrap_or_else(|error| panic!("{kind:?} to {to}, {size} bytes: {error:#}"));
                }
            }
        }
        let refused = open(netns, Type::STREAM, from, SocketAddr::new(node, NOBODYS)).unwrap_err();
        assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
    }
}

#[test]
fn answers_leave_by_the_uplink_that_the_client_came_in_by() {
    answers_return(&[]);
}

#[test]
fn so_they_do_without_tcx_and_fast_path() {
    answers_return(&["--attach=clsact", "--fast-path=off"]);
}
