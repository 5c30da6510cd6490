use std::{collections::BTreeSet, io::ErrorKind, net::SocketAddr};

use netpol_tests::{
    bed::{AgentOptions, Bed, object_ref},
    flows::status,
};

use crate::{
    MANY, START, TCP, UDP, at, build,
    client::{Tcp, Udp, mapped},
    node, pod, settle,
};

const CONNECTIONS: usize = 50;
const NODE: &str = "node1";

#[test]
fn an_agent_that_dies_and_comes_back_costs_no_connection() {
    let mut bed = build();
    let to = [at(&bed, "web", TCP), at(&bed, "web", UDP)].concat();
    let mut connections: Vec<Tcp> =
        (0..CONNECTIONS).map(|i| Tcp::connect(node(&bed), to[i % 2]).unwrap()).collect();
    let datagrams: Vec<Udp> =
        (0..CONNECTIONS).map(|i| Udp::connected(node(&bed), to[2 + i % 2]).unwrap()).collect();
    let mut assert_all_go_on = |bed: &Bed, when: &str| {
        for (i, tcp) in connections.iter_mut().enumerate() {
            tcp.ask().unwrap_or_else(|e| panic!("{when}: connection {i}: {e}"));
            assert_eq!(tcp.peer(), to[i % 2], "{when}");
        }
        for (i, udp) in datagrams.iter().enumerate() {
            assert_eq!(udp.ask_peer().unwrap().1, to[2 + i % 2], "{when}");
        }
        for to in &to[..2] {
            Tcp::connect(node(bed), *to).and_then(|mut tcp| tcp.ask()).unwrap();
        }
    };
    assert_all_go_on(&bed, "at first");
    for _ in 0..3 {
        bed.take_agent(NODE).unwrap().kill().unwrap();
        assert_all_go_on(&bed, "without the agent");
        bed.start_agent(NODE, &AgentOptions::default()).unwrap();
        bed.await_agents(START).unwrap();
        assert_all_go_on(&bed, "with another agent");
    }
}

#[test]
fn a_socket_that_is_not_connected_follows_the_backends() {
    let mut bed = build();
    let to = at(&bed, "web", UDP);
    let sockets: Vec<(Udp, _)> = (0..MANY).map(|i| (Udp::bind(node(&bed), to[i % 2]), to[i % 2])).collect();
    let ask_all = || -> BTreeSet<String> {
        sockets.iter().filter_map(|(udp, to)| udp.ask(*to).ok()).map(|(pod, _)| pod).collect()
    };
    assert_eq!(ask_all().len(), 3);
    bed.apply(&[pod("d", "node2", "web")]).unwrap();
    bed.await_agents(START).unwrap();
    bed.delete(&["a", "b", "c"].map(|gone| object_ref(&pod(gone, "", "")).unwrap())).unwrap();
    bed.await_agents(START).unwrap();
    for (udp, to) in &sockets {
        let answer = settle("after all backends went", || udp.ask(*to), Result::is_ok).unwrap();
        assert_eq!(answer, ("t/d".to_owned(), *to));
    }
    bed.delete(&[object_ref(&pod("d", "", "")).unwrap()]).unwrap();
    bed.await_agents(START).unwrap();
    for (udp, to) in &sockets {
        let refused = settle("without backends", || udp.ask(*to), Result::is_err).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_connected_socket_is_ended_when_its_backend_goes_and_finds_another() {
    let mut bed = build();
    let addresses = at(&bed, "web", UDP);
    let addresses = [addresses[0], addresses[1], mapped(addresses[0])];
    let sockets: Vec<(Udp, _, String)> = (0..MANY)
        .map(|i| {
            let to = addresses[i % addresses.len()];
            let udp = Udp::connected(node(&bed), to).unwrap();
            let (pod, _) = udp.ask_peer().unwrap();
            (udp, to, pod)
        })
        .collect();
    // This one asked for the pod itself.
    let direct = SocketAddr::new(bed.pod("t/a").unwrap().addresses[0], 5353);
    let own = Udp::connected(node(&bed), direct).unwrap();

    bed.delete(&["a", "b"].map(|gone| object_ref(&pod(gone, "", "")).unwrap())).unwrap();
    bed.await_agents(START).unwrap();
    for (udp, to, before) in &sockets {
        if before == "t/c" {
            assert_eq!(udp.ask_peer().unwrap(), (before.clone(), *to), "its backend is there");
            continue;
        }
        // The process is told so; nothing else ends a socket here.
        settle("an end", || Ok(udp.is_connected()), |connected| matches!(connected, Ok(false))).unwrap();
        assert_eq!(udp.answer().unwrap_err().kind(), ErrorKind::ConnectionAborted);
        udp.reconnect(*to).unwrap();
        assert_eq!(udp.ask_peer().unwrap(), ("t/c".to_owned(), *to));
    }
    assert_eq!(own.peer(), direct);
}

#[test]
fn cleanup_leaves_no_program_behind() {
    let mut bed = build();
    let to = at(&bed, "web", TCP);
    assert!(to.iter().all(|to| Tcp::connect(node(&bed), *to).is_ok()));
    let state = status(bed.agents().iter().find(|agent| agent.node == NODE).unwrap()).unwrap().node_services;
    assert_eq!(state, format!("on, cgroup {}", bed.cgroup().unwrap().display()));
    bed.take_agent(NODE).unwrap().stop().unwrap();
    assert!(to.iter().all(|to| Tcp::connect(node(&bed), *to).is_ok()), "without the agent");
    bed.clean_up_node(NODE).unwrap();
    assert!(to.iter().all(|to| Tcp::connect(node(&bed), *to).is_err()), "after cleanup");
}

#[test]
fn it_can_be_switched_off_and_on_again() {
    let mut bed = build();
    let to = at(&bed, "web", TCP);
    for (argument, reached) in [(Some("--node-services=off"), false), (None, true)] {
        bed.take_agent(NODE).unwrap().stop().unwrap();
        let arguments = argument.map(str::to_owned).into_iter().collect();
        bed.start_agent(NODE, &AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
        bed.await_agents(START).unwrap();
        for to in &to {
            assert_eq!(Tcp::connect(node(&bed), *to).is_ok(), reached, "{argument:?} {to}");
        }
    }
}
