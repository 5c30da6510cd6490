//! The bed itself, without any agent: what the kernel and the CNI plugins forward by themselves.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use netpol_tests::{
    bed::{Bed, ClusterSpec, Family, Place, object_ref},
    probe::{Attempt, Cell, Outcome, Protocol},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(3);

fn pod(name: &str, node: &str, ips: &[&str]) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 7, "protocol": "SCTP"},
        ]}]},
    });
    if !ips.is_empty() {
        pod["status"] = json!({"podIPs": ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>()});
    }
    pod
}

fn ask(bed: &Bed, from: &Place, protocol: Protocol, to: IpAddr, port: u16, size: usize) -> Outcome {
    let to = SocketAddr::new(to, port);
    let attempt = Attempt { from: bed.netns(from).unwrap(), protocol, to, size, timeout: PATIENCE };
    bed.runtime().block_on(attempt.make()).1
}

#[track_caller]
fn assert_answers(bed: &Bed, from: &Place, to: &str) {
    let source = bed.addresses(from).unwrap().to_vec();
    for addr in bed.pod(to).unwrap().addresses.clone() {
        for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53), (Protocol::Icmp, 0)] {
            // Larger than the MTU: fragments, for UDP and ICMP.
            for size in [17, 4000] {
                let outcome = ask(bed, from, protocol, addr, port, size);
                let Outcome::Answered(reply) = &outcome else {
                    panic!("{from:?} to {to} {addr} {protocol:?}: {outcome:?}")
                };
                if let Some(reply) = reply {
                    assert_eq!((reply.pod.as_str(), reply.bytes), (to, size));
                    let seen_from = reply.peer.ip();
                    assert!(
                        source.contains(&seen_from) || matches!(from, Place::Node(_)),
                        "seen from {seen_from}"
                    );
                }
            }
        }
        let outcome = ask(bed, from, Protocol::Tcp, addr, 81, 17);
        assert!(matches!(outcome, Outcome::Refused(_)), "{from:?} to {to} {addr} port 81: {outcome:?}");
    }
}

#[test]
fn everyone_reaches_every_pod_through_both_plugins_in_both_families() {
    let started = Instant::now();
    let spec = ClusterSpec { outside: vec!["client".to_owned()], ..ClusterSpec::default() };
    let mut bed = Bed::build(&spec).unwrap();
    let mut pods: Vec<_> = (0..6).map(|n| pod(&format!("p{n}"), ["node1", "node2"][n % 2], &[])).collect();
    pods.push(pod("fixed", "node1", &["10.244.1.77", "fd00:10:244:1::77"]));
    // Addresses of the other node's range, and of nobody's.
    pods.push(pod("guest-ptp", "node1", &["10.244.2.99", "fd00:10:244:2::99"]));
    pods.push(pod("guest-bridge", "node2", &["10.9.8.7"]));
    bed.apply(&pods).unwrap();
    eprintln!("built in {:?}", started.elapsed());

    let fixed: Vec<IpAddr> = vec!["10.244.1.77".parse().unwrap(), "fd00:10:244:1::77".parse().unwrap()];
    assert_eq!(bed.pod("t/fixed").unwrap().addresses, fixed);
    let names: Vec<_> = bed.pods().map(|p| p.name.clone()).collect();
    let mut places: Vec<_> = names.iter().cloned().map(Place::Pod).collect();
    places.extend([
        Place::Node("node1".into()),
        Place::Node("node2".into()),
        Place::Outside("client".into()),
    ]);
    for from in &places {
        for to in &names {
            // A pod with one family only cannot ask in the other.
            if matches!(from, Place::Pod(name) if name == "t/guest-bridge") != (to == "t/guest-bridge") {
                continue;
            }
            assert_answers(&bed, from, to);
        }
    }
    assert!(matches!(
        ask(&bed, &Place::Pod("t/p0".into()), Protocol::Tcp, "10.9.8.7".parse().unwrap(), 80, 17),
        Outcome::Answered(_)
    ));
    eprintln!("probed in {:?}", started.elapsed());

    let folder = bed.folder().to_owned();
    drop(bed);
    assert!(!folder.exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()), "a mount is left");
}

#[test]
fn a_deleted_pod_ends_and_comes_back_under_a_new_address() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let (a, b) = (pod("a", "node1", &[]), pod("b", "node2", &[]));
    bed.apply(&[a.clone(), b.clone()]).unwrap();
    let before = bed.pod("t/b").unwrap().addresses.clone();
    bed.apply(std::slice::from_ref(&b)).unwrap();
    assert_eq!(bed.pod("t/b").unwrap().addresses, before, "an equal object starts no new pod");

    bed.delete(&[object_ref(&b).unwrap()]).unwrap();
    let outcome = ask(&bed, &Place::Pod("t/a".into()), Protocol::Tcp, before[0], 80, 17);
    assert!(!matches!(outcome, Outcome::Answered(_)), "{outcome:?}");

    bed.apply(&[b]).unwrap();
    assert_ne!(bed.pod("t/b").unwrap().addresses, before);
    assert_answers(&bed, &Place::Pod("t/a".into()), "t/b");
}

#[test]
fn a_matrix_of_many_pairs_is_quick_and_names_the_pairs_that_differ() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let pods: Vec<_> = (0..9).map(|n| pod(&format!("p{n}"), ["node1", "node2"][n % 2], &[])).collect();
    bed.apply(&pods).unwrap();
    let names: Vec<_> = bed.pods().map(|p| p.name.clone()).collect();
    let mut expected = Vec::new();
    for (from, to) in names.iter().flat_map(|from| names.iter().map(move |to| (from, to))) {
        for family in Family::ALL {
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                let cell = Cell { from: Place::Pod(from.clone()), to: to.clone(), protocol, port, family };
                expected.push((cell, true));
            }
        }
    }
    let started = Instant::now();
    assert_eq!(bed.settle(&expected, PATIENCE).unwrap(), []);
    eprintln!("{} pairs in {:?}", expected.len(), started.elapsed());

    expected[5].1 = false;
    let wrong = bed.settle(&expected, Duration::ZERO).unwrap();
    assert!(matches!(&wrong[..], [(cell, Outcome::Answered(_))] if *cell == expected[5].0), "{wrong:?}");
}

#[test]
fn an_object_that_asks_for_the_impossible_is_named() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let error = bed.apply(&[pod("a", "node7", &[])]).unwrap_err();
    assert!(format!("{error:#}").contains("t/a: spec.nodeName: there is no node node7"), "{error:#}");
    let error = bed.apply(&[pod("a", "node1", &["10.244.1.300"])]).unwrap_err();
    assert!(format!("{error:#}").contains("Pod t/a: status.podIPs: 10.244.1.300"), "{error:#}");
}
