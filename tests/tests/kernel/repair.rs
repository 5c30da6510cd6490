//! Programs that others take off an interface are back within a second, and nobody else's are touched.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use netpol_agent::dataplane::kernel::{AttachMode, Kernel, KernelOptions, UplinkChoice};
use netpol_common::version::ABI_VERSION;
use netpol_tests::{
    bed::{Bed, ClusterSpec, Node},
    probe::{Attempt, Outcome, Protocol},
};

use crate::node::{
    PATIENCE, await_pod, open, open_pod, options, pin_dir, pinned_interfaces, pod, uplinks, v4,
};

const A_SECOND: Duration = Duration::from_secs(1);

fn tc(node: &Node, line: &str) -> String {
    let output = node.netns.output(Command::new("tc").args(line.split(' '))).unwrap();
    assert!(output.status.success(), "tc {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A filter of somebody else that meets every IPv4 packet.
fn u32_filter(pref: u8, action: &str) -> String {
    format!("pref {pref} protocol ip u32 match u32 0 0 flowid 1:1{action}")
}

#[track_caller]
fn within_a_second(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < A_SECOND, "not within a second: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

#[test]
fn links_whose_pins_are_removed_are_back_within_a_second() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("p", "node1")]).unwrap();
    let node = bed.node("node1").unwrap();
    let wanted =
        KernelOptions { uplinks: uplinks(UplinkChoice::Auto), ..options(node, Some(AttachMode::Tcx)) };
    let mut kernel = node.netns.enter(|| Ok(Kernel::open(&wanted)?)).unwrap();
    await_pod(&bed, &mut kernel, "t/p");
    let node = bed.node("node1").unwrap();
    let all = pinned_interfaces(node);
    assert_eq!(all.len(), 4, "a pod's and an uplink's: {all:?}");
    for name in &all {
        fs::remove_file(pin_dir(node).join(format!("v{ABI_VERSION}")).join("links").join(name)).unwrap();
        within_a_second(name, || pinned_interfaces(node) == all);
    }
}

#[test]
fn filters_that_are_removed_are_back_within_a_second_beside_those_of_others() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("p", "node1")]).unwrap();
    let mut kernel = open(&bed, "node1", Some(AttachMode::Clsact));
    let interface = await_pod(&bed, &mut kernel, "t/p").name;
    let node = bed.node("node1").unwrap();
    let filters = |direction: &str| tc(node, &format!("filter show dev {interface} {direction}"));
    let are_there =
        || filters("ingress").contains("netpol/from_pod") && filters("egress").contains("netpol/to_pod");
    assert!(are_there());
    for pref in [1, 3] {
        tc(node, &format!("filter add dev {interface} ingress {}", u32_filter(pref, "")));
    }
    let others = || filters("ingress").matches("flowid 1:1").count();
    let theirs = others();
    assert_eq!(theirs, 2, "{}", filters("ingress"));
    for direction in ["ingress", "egress"] {
        tc(node, &format!("filter del dev {interface} {direction} pref 2 handle 0x6e70 bpf"));
        within_a_second(direction, are_there);
        assert_eq!(others(), theirs, "{}", filters("ingress"));
    }
    tc(node, &format!("qdisc del dev {interface} clsact"));
    within_a_second("both, in a qdisc of their own", are_there);
}

#[test]
fn a_filter_behind_the_programs_sees_what_they_let_through() {
    for mode in [AttachMode::Tcx, AttachMode::Clsact] {
        let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
        bed.apply(&[pod("p", "node1")]).unwrap();
        let mut kernel = open(&bed, "node1", Some(mode));
        let interface = await_pod(&bed, &mut kernel, "t/p");
        open_pod(&mut kernel, &interface);
        let node = bed.node("node1").unwrap();
        let (from, to) = (node.netns.clone(), SocketAddr::new(v4(&interface.addresses), 53));
        let ask = |timeout| {
            let attempt = Attempt { from: from.clone(), protocol: Protocol::Udp, to, size: 17, timeout };
            bed.runtime().block_on(attempt.make()).1
        };
        assert!(matches!(ask(PATIENCE), Outcome::Answered(_)), "{mode:?}");
        let device = &interface.name;
        if mode == AttachMode::Tcx {
            tc(node, &format!("qdisc add dev {device} clsact"));
        }
        for direction in ["ingress", "egress"] {
            tc(
                node,
                &format!(
                    "filter add dev {device} {direction} {}",
                    u32_filter(3, " action mirred egress redirect dev lo")
                ),
            );
            assert_eq!(ask(Duration::from_millis(200)), Outcome::Silent, "{mode:?}, {direction}");
            tc(node, &format!("filter del dev {device} {direction} pref 3"));
            assert!(matches!(ask(PATIENCE), Outcome::Answered(_)), "{mode:?}, {direction}");
        }
    }
}
