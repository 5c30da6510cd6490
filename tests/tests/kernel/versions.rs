//! Pins of another version: its programs stay until this one's policy is in force, and are replaced then.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use netpol_agent::dataplane::{
    Dataplane, Op,
    kernel::{AttachMode, Kernel, KernelOptions, UplinkChoice, UplinkOptions, XdpChoice, cleanup},
};
use netpol_common::version::ABI_VERSION;
use netpol_tests::{bed::Node, eventually};

use crate::{
    damage::{Lab, pins},
    node::{PATIENCE, await_pod, options, pin_dir, pinned_interfaces},
    xdp::on,
};

/// What is pinned becomes another version's, as if an agent of that one had left it.
fn disown(node: &Node) -> PathBuf {
    let there = pin_dir(node).join(format!("v{}", ABI_VERSION - 1));
    fs::rename(pins(node), &there).unwrap();
    there
}

fn with_xdp(node: &Node, attach: AttachMode) -> KernelOptions {
    let choice = UplinkChoice::Named(["eth0".to_owned()].into());
    let uplinks = UplinkOptions { choice, xdp: XdpChoice::Native, ..UplinkOptions::default() };
    KernelOptions { uplinks, ..options(node, Some(attach)) }
}

#[test]
fn another_versions_programs_stay_until_this_ones_policy_is_in_force_and_are_replaced_then() {
    let lab = Lab::new();
    for attach in [AttachMode::Tcx, AttachMode::Clsact] {
        let options = with_xdp(lab.node(), attach);
        let mut kernel = lab.open_with(&options);
        lab.write_rows(&mut kernel);
        drop(kernel);
        let xdp = on(lab.node(), "eth0").expect("XDP is on");
        let links = pinned_interfaces(lab.node());
        let there = disown(lab.node());
        // Whatever else lies there.
        symlink("../np_ep", there.join("links/90002-to_pod")).unwrap();
        fs::create_dir(there.join("links/precious")).unwrap();

        let mut kernel = lab.open_with(&options);
        assert_eq!(kernel.found, []);
        assert_eq!(lab.exchange(), 5, "{attach:?}: the other one's rows are in force");
        assert_eq!(pinned_interfaces(lab.node()), [""; 0], "{attach:?}");
        assert!(kernel.xdp.summary().contains("another version's is on it"), "{}", kernel.xdp.summary());
        assert_eq!(on(lab.node(), "eth0"), Some(xdp), "{attach:?}");

        lab.write_rows(&mut kernel);
        kernel.lock.replace_other_versions().unwrap();
        assert!(!there.exists());
        assert_eq!(pinned_interfaces(lab.node()), links, "{attach:?}");
        assert_eq!(kernel.xdp.summary(), "eth0 native");
        let (program, generic) = on(lab.node(), "eth0").expect("never without");
        assert!(program != xdp.0 && !generic, "{attach:?}: by this one's program");
        assert_eq!(lab.exchange(), 5, "{attach:?}");
        close(&lab, &mut kernel);
        assert_eq!(lab.exchange(), 0, "{attach:?}: nobody but this one's programs has a say");
        drop(kernel);
        let node = lab.node();
        node.netns.enter(|| Ok(cleanup(&pin_dir(node))?)).unwrap();
        // The kernel lets go of a link a little after its last name.
        eventually(PATIENCE, "open", || lab.exchange() == 5 && on(lab.node(), "eth0").is_none());
    }
}

fn close(lab: &Lab, kernel: &mut Kernel) {
    let interface = await_pod(&lab.bed, kernel, "t/b");
    kernel.maps.apply(&Op::DeleteEndpoint(interface.ifindex)).unwrap();
    kernel.maps.apply(&Op::AdvanceEpoch).unwrap();
}

#[test]
fn what_another_version_has_judged_is_judged_again() {
    let lab = Lab::new();
    let mut kernel = lab.open();
    for _ in 0..5 {
        kernel.maps.apply(&Op::AdvanceEpoch).unwrap();
    }
    lab.write_rows(&mut kernel);
    let (epoch, theirs) = (kernel.maps.epoch(), kernel);
    drop(theirs);
    disown(lab.node());
    let kernel = lab.open();
    assert_eq!(kernel.maps.epoch(), epoch + 1);
    drop(kernel);
    // Also after an agent that never came to put its programs in.
    assert_eq!(lab.open().maps.epoch(), epoch + 1);
}
