use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
};

use netpol_tests::bed::{Bed, Netns};

use crate::{
    MANY, TCP, UDP, at, build,
    client::{Tcp, Udp, inside, mapped},
    node,
};

const ALL: [&str; 3] = ["t/a", "t/b", "t/c"];

/// Every backend answers, and nobody else.
#[track_caller]
fn assert_all_answer(to: SocketAddr, ask: impl Fn(SocketAddr) -> String) {
    let seen: BTreeSet<String> = (0..MANY).map(|_| ask(to)).collect();
    assert_eq!(seen, ALL.map(str::to_owned).into(), "{to}");
}

#[test]
fn connections_reach_every_backend_and_are_shown_the_service() {
    let bed = build();
    for to in at(&bed, "web", TCP).into_iter().flat_map(|to| [to, mapped(to)]) {
        assert_all_answer(to, |to| {
            let mut tcp = Tcp::connect(node(&bed), to).unwrap();
            assert_eq!(tcp.peer(), to);
            tcp.ask().unwrap()
        });
    }
}

#[test]
fn datagrams_reach_every_backend_and_answers_come_from_the_service() {
    let bed = build();
    for to in at(&bed, "web", UDP).into_iter().flat_map(|to| [to, mapped(to)]) {
        assert_all_answer(to, |to| {
            let (pod, from) = Udp::bind(node(&bed), to).ask(to).unwrap();
            assert_eq!(from, to);
            pod
        });
        assert_all_answer(to, |to| {
            let udp = Udp::connected(node(&bed), to).unwrap();
            assert_eq!(udp.peer(), to);
            let (pod, from) = udp.ask_peer().unwrap();
            assert_eq!(from, to);
            pod
        });
    }
}

#[test]
fn one_socket_speaks_to_services_and_to_others() {
    let bed = build();
    for (to, direct) in at(&bed, "web", UDP).into_iter().zip(&bed.pod("t/c").unwrap().addresses) {
        let direct = SocketAddr::new(*direct, 5353);
        let udp = Udp::bind(node(&bed), to);
        for _ in 0..3 {
            assert_eq!(udp.ask(to).unwrap().1, to);
            // Also where that is the backend that answered for the Service.
            assert_eq!(udp.ask(direct).unwrap(), ("t/c".to_owned(), direct));
        }
        udp.reconnect(direct).unwrap();
        assert_eq!(udp.peer(), direct);
        udp.reconnect(to).unwrap();
        assert_eq!(udp.peer(), to);
        assert_eq!(udp.ask_peer().unwrap().1, to);
    }
}

#[test]
fn a_service_without_backends_refuses_at_once() {
    let bed = build();
    for to in at(&bed, "empty", TCP).into_iter().flat_map(|to| [to, mapped(to)]) {
        refused(Tcp::connect(node(&bed), to).map(|tcp| tcp.peer()));
    }
    for to in at(&bed, "empty", UDP).into_iter().flat_map(|to| [to, mapped(to)]) {
        refused(Udp::bind(node(&bed), to).ask(to));
        refused(Udp::connected(node(&bed), to).map(|udp| udp.peer()));
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn sockets_of_pods_are_left_alone() {
    let bed = build();
    let pod = &bed.pod("t/client").unwrap().netns;
    for to in at(&bed, "web", TCP) {
        let mut tcp = Tcp::connect(pod, to).unwrap();
        tcp.ask().unwrap();
        // The pod's kernel itself believes that it speaks to the Service; the node's does not.
        assert!(has_peer(pod, tcp.own(), to), "{to}");
        let mut tcp = Tcp::connect(node(&bed), to).unwrap();
        tcp.ask().unwrap();
        assert!(!has_peer(node(&bed), tcp.own(), to), "{to}");
    }
    assert_cgroup(&bed);
}

/// Pods and node share the cgroup here: it is the network namespace that tells them apart.
fn assert_cgroup(bed: &Bed) {
    let members = fs::read_to_string(bed.cgroup().unwrap().join("cgroup.procs")).unwrap();
    assert!(members.lines().any(|pid| pid == std::process::id().to_string()), "{members}");
}

/// What the kernel of a namespace sends to: a line of its table of connections with both ends.
fn has_peer(netns: &Netns, own: SocketAddr, peer: SocketAddr) -> bool {
    let table = if own.is_ipv4() { "tcp" } else { "tcp6" };
    let table = inside(netns, || fs::read_to_string(format!("/proc/thread-self/net/{table}"))).unwrap();
    let (own, peer) = (hex(own), hex(peer));
    let mut lines = table.lines().map(|line| line.split_whitespace().skip(1));
    let found = lines.find(|line| line.clone().next() == Some(&own));
    found.expect("the connection is in the table").nth(1) == Some(&peer)
}

fn hex(address: SocketAddr) -> String {
    let words: Vec<u32> = match address.ip() {
        std::net::IpAddr::V4(addr) => vec![u32::from_ne_bytes(addr.octets())],
        std::net::IpAddr::V6(addr) => {
            addr.octets().chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
        }
    };
    let words: String = words.iter().map(|word| format!("{word:08X}")).collect();
    format!("{words}:{:04X}", address.port())
}
