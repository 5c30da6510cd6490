//! The plugin is chained to what others have written, and again when they write it anew.

use std::{fs, path::Path, process::Command};

use netpol_tests::{bed::program, eventually};
use serde_json::Value;

use crate::ground::PATIENCE;

const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "k8s", "plugins": [{"type": "ptp", "mtu": MTU}, {"type": "portmap"}]}"#;

fn types(file: &Path) -> Vec<String> {
    let Ok(list) = serde_json::from_slice::<Value>(&fs::read(file).unwrap()) else { return Vec::new() };
    list["plugins"].as_array().unwrap().iter().map(|p| p["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_configuration_that_is_written_anew_is_chained_again() {
    let folder = tempfile::tempdir().unwrap();
    let (conf, bin) = (folder.path().join("net.d"), folder.path().join("bin"));
    fs::create_dir(&conf).unwrap();
    let agent = |command: &str| {
        let mut agent = Command::new(program("netpol-agent").unwrap());
        agent.arg(command).arg("--conf-dir").arg(&conf).arg("--bin-dir").arg(&bin);
        agent
    };
    let file = conf.join("10-k8s.conflist");
    let mut watching = agent("install-cni").arg("--watch").spawn().unwrap();
    let chained = ["netpol-cni", "ptp", "portmap", "netpol-cni"];
    for mtu in ["1500", "1400"] {
        fs::write(conf.join("draft"), LIST.replace("MTU", mtu)).unwrap();
        fs::rename(conf.join("draft"), &file).unwrap();
        eventually(PATIENCE, "it is chained", || types(&file) == chained);
        assert!(fs::read_to_string(&file).unwrap().contains(&format!(r#"{{"type": "ptp", "mtu": {mtu}}}"#)));
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(fs::read(bin.join("netpol-cni")).unwrap(), fs::read(program("netpol-cni").unwrap()).unwrap());

    for (said, left) in [("is removed", 2), ("is removed already", 2)] {
        let output = agent("uninstall-cni").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.trim_end().ends_with(said), "{output:?}");
        assert_eq!(types(&file).len(), left);
    }
    fs::write(&file, "{").unwrap();
    let output = agent("install-cni").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("10-k8s.conflist"), "{output:?}");
}
