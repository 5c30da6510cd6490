//! A bed goes with its owner, however that ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use netpol_tests::bed::{Bed, ClusterSpec};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for an answer that never comes, long enough to be interrupted.
const ENDLESS: &str = "
name: endless
objects:
  - {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: node1, containers: [{name: c}]}}
  - {apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {nodeName: node2, containers: [{name: c}]}}
steps: [{name: s, within: 10m, probe: [{from: default/a, to: 'default/b:80'}]}]
";

/// A program with a bed, and the bed's folder.
fn start(scenario: &Path) -> (Child, PathBuf) {
    fs::write(scenario, ENDLESS).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_scenario"))
        .arg("--no-agents")
        .arg(scenario)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let folder = PathBuf::from(format!("/run/netpol-bed/{}-0", child.id()));
    await_that("the bed is built", || folder.join("manifests/pod.default.b.yaml").exists());
    (child, folder)
}

fn await_that(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn assert_gone(folder: &Path) {
    assert!(!folder.exists(), "{} is left", folder.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&format!("{}/", folder.display())), "a mount is left");
}

#[test]
fn a_signal_takes_the_bed_down() {
    let scratch = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, folder) = start(&scratch.path().join("endless.yaml"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal.as_raw()));
        assert_gone(&folder);
    }
}

#[test]
fn what_a_killed_owner_leaves_goes_when_the_next_bed_is_built() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut child, folder) = start(&scratch.path().join("endless.yaml"));
    child.kill().unwrap();
    child.wait().unwrap();
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    assert_gone(&folder);
    let own = bed.folder().to_owned();
    drop(bed);
    assert_gone(&own);
}
