use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpol_agent::dataplane::{
    Dataplane, Op,
    kernel::{AttachMode, cleanup},
};
use netpol_tests::{
    bed::{Bed, ClusterSpec, Netns, object_ref},
    eventually,
};
use socket2::{Domain, Type};

use crate::node::{PATIENCE, await_pod, open, open_pod, pin_dir, pinned_interfaces, pod, v4};

/// Asks once a millisecond until told to stop, then waits for the last answers. How many were asked and not answered.
fn stream(client: &Netns, to: SocketAddr, stop: &AtomicBool) -> (usize, BTreeSet<u32>) {
    let socket: UdpSocket = client.socket(Domain::IPV4, Type::DGRAM, None).unwrap().into();
    socket.connect(to).unwrap();
    let mut open = BTreeSet::new();
    let mut buffer = [0; 2048];
    let mut asked = 0;
    let mut receive = |open: &mut BTreeSet<u32>| {
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            open.retain(|number| !text.contains(&format!("n{number:015}")));
        }
    };
    while !stop.load(Ordering::Relaxed) {
        // What is open must fit the buffer of the server's socket, should it sleep for long.
        if open.len() < 64 {
            socket.send(format!("n{asked:015}\n").as_bytes()).unwrap();
            open.insert(asked);
            asked += 1;
        }
        thread::sleep(Duration::from_millis(1));
        receive(&mut open);
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while !open.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
        receive(&mut open);
    }
    (asked as usize, open)
}

/// Runs traffic between two pods of a node while one agent after the other comes and goes.
fn traffic_goes_on(modes: [AttachMode; 4]) {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("a", "node1"), pod("b", "node1")]).unwrap();
    let mut first = open(&bed, "node1", Some(modes[0]));
    for name in ["t/a", "t/b"] {
        let interface = await_pod(&bed, &mut first, name);
        open_pod(&mut first, &interface);
    }
    drop(first);
    let to = SocketAddr::new(v4(&bed.pod("t/b").unwrap().addresses), 53);
    let client = bed.pod("t/a").unwrap().netns.clone();
    let stop = AtomicBool::new(false);
    let (asked, lost) = thread::scope(|scope| {
        let traffic = scope.spawn(|| stream(&client, to, &stop));
        for mode in modes {
            // Long enough for packets to pass without an agent, and with it.
            thread::sleep(Duration::from_millis(50));
            let agent = open(&bed, "node1", Some(mode));
            assert_eq!((agent.known.len(), agent.mode), (2, mode));
            thread::sleep(Duration::from_millis(50));
            drop(agent);
        }
        stop.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    assert!(asked > 200, "{asked} asked");
    assert!(lost.is_empty(), "{} of {asked} lost: {lost:?}", lost.len());

    // The programs were there all the time: without a row everything stops.
    let mut last = open(&bed, "node1", Some(modes[3]));
    let node = bed.node("node1").unwrap();
    let interfaces = ["t/a", "t/b"].map(|name| await_pod(&bed, &mut last, name));
    for interface in &interfaces {
        last.maps.apply(&Op::DeleteEndpoint(interface.ifindex)).unwrap();
    }
    last.maps.apply(&Op::AdvanceEpoch).unwrap();
    assert_eq!(exchange(&client, to), 0, "closed");
    drop(last);
    node.netns.enter(|| Ok(cleanup(&pin_dir(node))?)).unwrap();
    // The kernel lets go of a link a little after its last name.
    eventually(PATIENCE, "open after cleanup", || exchange(&client, to) == 10);
    let filters =
        node.netns.output(Command::new("tc").args(["filter", "show", "dev", &interfaces[0].name, "ingress"]));
    assert_eq!(String::from_utf8(filters.unwrap().stdout).unwrap(), "", "no filter is left");
}

/// How many of ten requests are answered.
fn exchange(client: &Netns, to: SocketAddr) -> usize {
    let socket: UdpSocket = client.socket(Domain::IPV4, Type::DGRAM, None).unwrap().into();
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.connect(to).unwrap();
    let mut buffer = [0; 2048];
    (0..10)
        .filter(|number| {
            socket.send(format!("n{number:015}\n").as_bytes()).unwrap();
            socket.recv(&mut buffer).is_ok()
        })
        .count()
}

#[test]
fn traffic_goes_on_without_an_agent_and_over_restarts_with_tcx() {
    traffic_goes_on([AttachMode::Tcx; 4]);
}

#[test]
fn traffic_goes_on_without_an_agent_and_over_restarts_with_clsact() {
    traffic_goes_on([AttachMode::Clsact; 4]);
}

#[test]
fn traffic_goes_on_while_agents_change_between_tcx_and_clsact() {
    traffic_goes_on([AttachMode::Clsact, AttachMode::Tcx, AttachMode::Clsact, AttachMode::Tcx]);
}

#[test]
fn links_of_interfaces_that_went_while_no_agent_ran_are_removed() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let gone = pod("gone", "node1");
    bed.apply(&[gone.clone(), pod("stays", "node1")]).unwrap();
    drop(open(&bed, "node1", None));
    assert_eq!(pinned_interfaces(bed.node("node1").unwrap()).len(), 4);
    bed.delete(&[object_ref(&gone).unwrap()]).unwrap();
    assert_eq!(pinned_interfaces(bed.node("node1").unwrap()).len(), 4);
    let mut kernel = open(&bed, "node1", None);
    let stays = await_pod(&bed, &mut kernel, "t/stays");
    let both = ["from_pod", "to_pod"].map(|name| format!("{}-{name}", stays.ifindex));
    assert_eq!(pinned_interfaces(bed.node("node1").unwrap()), both);
}
