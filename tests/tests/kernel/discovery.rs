use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use netpol_agent::dataplane::kernel::{AttachMode, Change};
use netpol_common::{direction::Direction, reason::DropReason, stats};
use netpol_tests::{
    bed::{Bed, ClusterSpec, Netns, Place, object_ref},
    eventually,
    probe::{Attempt, Outcome, Protocol},
};

use crate::node::{PATIENCE, await_change, await_pod, open, open_pod, pinned_interfaces, pod, v4};

fn ask(bed: &Bed, from: &Place, to: &str, timeout: Duration) -> Outcome {
    let to = SocketAddr::new(v4(&bed.pod(to).unwrap().addresses), 53);
    let attempt = Attempt { from: bed.netns(from).unwrap(), protocol: Protocol::Udp, to, size: 17, timeout };
    bed.runtime().block_on(attempt.make()).1
}

#[test]
fn pods_of_both_plugins_are_found_closed_and_forgotten() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    for node in ["node1", "node2"] {
        let place = Place::Node(node.into());
        let mut kernel = open(&bed, node, None);
        assert_eq!(kernel.known, [], "{node}: the uplink is no pod's");
        let pod = pod("p", node);
        bed.apply(std::slice::from_ref(&pod)).unwrap();
        let mut interface = await_pod(&bed, &mut kernel, "t/p");
        if node == "node2" && interface.master == 0 {
            // The plugin may set the addresses before the port: the port is reported after them then.
            interface = await_change(&bed, &mut kernel, "a port of the bridge", |change| match change {
                Change::Up(now) if now.master != 0 => Some(now.clone()),
                _ => None,
            });
        }
        assert_eq!(interface.master != 0, node == "node2", "{interface:?}");
        if kernel.mode == AttachMode::Tcx {
            let both = ["from_pod", "to_pod"].map(|name| format!("{}-{name}", interface.ifindex));
            assert_eq!(
                pinned_interfaces(bed.node(node).unwrap()),
                both,
                "{node}: nothing but the pod's interface"
            );
        }

        let pending = || {
            let counters = kernel.stats.read().unwrap();
            counters[stats::index(DropReason::Pending as u8, Direction::Ingress) as usize].packets
        };
        let before = pending();
        assert_eq!(ask(&bed, &place, "t/p", Duration::from_millis(200)), Outcome::Silent, "{node}: closed");
        assert!(pending() > before, "{node}: dropped as pending");
        open_pod(&mut kernel, &interface);
        let outcome = ask(&bed, &place, "t/p", Duration::from_secs(2));
        assert!(matches!(outcome, Outcome::Answered(_)), "{node}: {outcome:?}");

        bed.delete(&[object_ref(&pod).unwrap()]).unwrap();
        await_change(&bed, &mut kernel, "gone", |change| {
            (*change == Change::Gone(interface.ifindex)).then_some(())
        });
        assert_eq!(pinned_interfaces(bed.node(node).unwrap()), [""; 0], "{node}: no link is left");
    }
}

#[test]
fn a_pod_is_closed_before_anything_it_sends_gets_out() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("witness", "node1")]).unwrap();
    let mut kernel = open(&bed, "node1", None);
    let witness = await_pod(&bed, &mut kernel, "t/witness");
    open_pod(&mut kernel, &witness);
    for round in 0..5 {
        let name = format!("p{round}");
        bed.apply(&[pod(&name, "node1")]).unwrap();
        // The plugin has returned: the runtime would start the container now.
        let from = Place::Pod(format!("t/{name}"));
        assert_eq!(ask(&bed, &from, "t/witness", Duration::from_millis(100)), Outcome::Silent, "{name}");
    }
}

#[test]
fn an_address_that_comes_late_is_reported() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("p", "node1")]).unwrap();
    let mut kernel = open(&bed, "node1", None);
    let interface = await_pod(&bed, &mut kernel, "t/p");
    let netns = bed.pod("t/p").unwrap().netns.clone();
    netns.ip(&["addr add 10.99.0.7/32 dev eth0".to_owned()]).unwrap();
    let late = "10.99.0.7".parse().unwrap();
    await_change(&bed, &mut kernel, "a new address", |change| match change {
        Change::Up(up) => (up.ifindex == interface.ifindex && up.addresses.contains(&late)).then_some(()),
        Change::Gone(_) => None,
    });
    netns.ip(&["addr del 10.99.0.7/32 dev eth0".to_owned()]).unwrap();
    await_change(&bed, &mut kernel, "the address gone", |change| {
        (*change == Change::Up(interface.clone())).then_some(())
    });
}

#[test]
fn a_namespace_that_gets_its_name_late_is_found() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("p", "node1")]).unwrap();
    let netns = bed.pod("t/p").unwrap().netns.clone();
    // Out of sight before discovery begins, as a file without a mount is.
    let hidden = bed.folder().join("hidden.ns");
    std::fs::write(&hidden, "").unwrap();
    let bind = |from: &std::path::Path, to: &std::path::Path| rustix::mount::mount_bind(from, to).unwrap();
    bind(netns.path(), &hidden);
    rustix::mount::unmount(netns.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    let mut kernel = open(&bed, "node1", None);
    assert_eq!(kernel.known, []);
    bind(&hidden, netns.path());
    await_pod(&bed, &mut kernel, "t/p");
    eventually(PATIENCE, "both links", || pinned_interfaces(bed.node("node1").unwrap()).len() == 2);
}

#[test]
fn a_crowd_that_comes_and_goes_at_once_leaves_nothing_out_and_nothing_behind() {
    const CROWD: usize = 60;
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let node = bed.node("node1").unwrap();
    let pods: Vec<_> = (0..CROWD)
        .map(|n| Netns::create(&format!("p{n}"), &node.netns_dir().join(format!("p{n}"))).unwrap())
        .collect();
    let mut kernel = open(&bed, "node1", Some(AttachMode::Tcx));
    let lines = |line: &dyn Fn(usize) -> String| (0..CROWD).map(line).collect::<Vec<_>>();
    let path = |n: usize| pods[n].path().display().to_string();
    node.netns.ip(&lines(&|n| format!("link add h{n} type veth peer name eth0 netns {}", path(n)))).unwrap();
    eventually(PATIENCE, "two links each", || pinned_interfaces(node).len() == 2 * CROWD);
    let mut up = BTreeSet::new();
    while up.len() < CROWD {
        up.insert(await_change(&bed, &mut kernel, "all of them", |change| match change {
            Change::Up(interface) => Some(interface.ifindex),
            Change::Gone(_) => None,
        }));
    }
    node.netns.ip(&lines(&|n| format!("link del h{n}"))).unwrap();
    while !up.is_empty() {
        let gone = await_change(&bed, &mut kernel, "all of them gone", |change| match change {
            Change::Gone(ifindex) => Some(*ifindex),
            Change::Up(_) => None,
        });
        assert!(up.remove(&gone), "{gone} went twice");
    }
    assert_eq!(pinned_interfaces(node), [""; 0]);
    for pod in &pods {
        pod.delete().unwrap();
    }
}
