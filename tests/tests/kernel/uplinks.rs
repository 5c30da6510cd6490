use std::{collections::BTreeSet, process::Command};

use netpol_agent::dataplane::kernel::{
    AttachMode, Kernel, KernelOptions,
    UplinkChoice::{self, Auto, Named, Off},
    cleanup,
};
use netpol_tests::{
    bed::{Bed, ClusterSpec, Node},
    eventually,
};

use crate::node::{PATIENCE, options, pin_dir, pod, uplinks};

fn open(node: &Node, mode: AttachMode, choice: UplinkChoice) -> Kernel {
    let options = KernelOptions { uplinks: uplinks(choice), ..options(node, Some(mode)) };
    node.netns.enter(|| Ok(Kernel::open(&options)?)).unwrap()
}

/// Names of the interfaces of the node that have both programs for traffic from outside, asked of the kernel.
fn with_programs(node: &Node) -> BTreeSet<String> {
    let output = |program: &str, args: &[&str]| {
        let output = node.netns.output(Command::new(program).args(args)).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let links: serde_json::Value = serde_json::from_str(&output("ip", &["-j", "link"])).unwrap();
    let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned());
    names
        .filter(|name| {
            ["ingress", "egress"]
                .into_iter()
                .zip(["from_netdev", "to_netdev"])
                .all(|(way, program)| output("tc", &["filter", "show", "dev", name, way]).contains(program))
        })
        .collect()
}

fn names(wanted: &[&str]) -> BTreeSet<String> {
    wanted.iter().map(|name| (*name).to_owned()).collect()
}

fn ip(node: &Node, lines: &[&str]) {
    node.netns.ip(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).unwrap();
}

#[test]
fn uplinks_are_followed_and_let_go() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    // A pod's interface and the bridge of a plugin have addresses too.
    bed.apply(&[pod("a", "node1"), pod("b", "node2")]).unwrap();
    for name in ["node1", "node2"] {
        let node = bed.node(name).unwrap();
        let agent = open(node, AttachMode::Clsact, Auto);
        assert_eq!(with_programs(node), names(&["eth0"]), "{name}");
        ip(node, &["link add more0 type veth peer name more1", "link set more0 up", "link set more1 up"]);
        ip(node, &["addr add 192.0.2.1/24 dev more0"]);
        eventually(PATIENCE, "an interface got an address", || {
            with_programs(node) == names(&["eth0", "more0"])
        });
        ip(node, &["route add default dev more1"]);
        eventually(PATIENCE, "a default route", || with_programs(node) == names(&["eth0", "more0", "more1"]));
        ip(node, &["addr del 192.0.2.1/24 dev more0", "route del default"]);
        eventually(PATIENCE, "both are gone", || with_programs(node) == names(&["eth0"]));
        drop(agent);
        assert_eq!(with_programs(node), names(&["eth0"]), "{name}: without an agent");
        drop(open(node, AttachMode::Clsact, Named(names(&["more1"]))));
        assert_eq!(with_programs(node), names(&["more1"]), "{name}: by name");
        drop(open(node, AttachMode::Clsact, Off));
        assert_eq!(with_programs(node), names(&[]), "{name}: off");
        drop(open(node, AttachMode::Clsact, Auto));
        node.netns.enter(|| Ok(cleanup(&pin_dir(node))?)).unwrap();
        assert_eq!(with_programs(node), names(&[]), "{name}: cleaned up");
    }
}
