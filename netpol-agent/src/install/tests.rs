use std::{os::unix::fs::PermissionsExt, time::Duration};

use netpol_cni::{DEFAULT_DIR, TYPE};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// Lists in the shapes that CNI plugins write, with what comes last in each.
const LISTS: [(&str, &str); 5] = [
    (
        "10-calico.conflist",
        r#"{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "info",
      "datastore_type": "kubernetes",
      "nodename": "node1",
      "mtu": 0,
      "ipam": {"type": "calico-ipam", "assign_ipv6": "true"},
      "policy": {"type": "k8s"},
      "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}
"#,
    ),
    (
        "10-flannel.conflist",
        r#"{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [
  {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}"#,
    ),
    (
        "05-cilium.conflist",
        "{\n  \"cniVersion\": \"0.3.1\",\n  \"name\": \"cilium\",\n  \"plugins\": [\n    {\n       \"type\": \"cilium-cni\",\n       \
         \"enable-debug\": false,\n       \"log-file\": \"/var/run/cilium/cilium-cni.log\"\n    }\n  ]\n}\n",
    ),
    (
        "10-kindnet.conflist",
        r#"{
	"cniVersion": "0.3.1",
	"name": "kindnet",
	"plugins": [
	{
		"type": "ptp",
		"ipMasq": false,
		"ipam": {
			"type": "host-local",
			"dataDir": "/run/cni-ipam-state",
			"routes": [{ "dst": "0.0.0.0/0" }],
			"ranges": [[{ "subnet": "10.244.0.0/24" }]]
		},
		"mtu": 1500
	},
	{ "type": "portmap", "capabilities": { "portMappings": true } }
	]
}"#,
    ),
    (
        "87-podman.conflist",
        r#"{"cniVersion": "1.0.0", "name": "b", "disableCheck": true, "future": {"z": 1, "a": [2.50, 1.0e5]}, "plugins": [
  {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}}], "alsoFuture": "kept"}"#,
    ),
];

const SINGLE: &str = r#"{"cniVersion": "0.4.0", "name": "one", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}}"#;

struct Node {
    folder: TempDir,
    what: Install,
}

impl Node {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [conf_dir, bin_dir] = ["net.d", "bin"].map(|name| folder.path().join(name));
        let plugin = folder.path().join("netpol-cni-of-the-image");
        fs::write(&plugin, "first build").unwrap();
        fs::create_dir(&conf_dir).unwrap();
        for (name, text) in files {
            fs::write(conf_dir.join(name), text).unwrap();
        }
        let entry =
            Entry { hold: true, dir: DEFAULT_DIR.into(), timeout: Duration::from_secs(10), fail_open: false };
        Self { folder, what: Install { conf_dir, bin_dir, plugin, entry } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.what.conf_dir.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.what.conf_dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn types(&self, name: &str) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.read(name)).unwrap();
        list["plugins"].as_array().unwrap().iter().map(|p| p["type"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn lists_of_every_shape_get_the_plugin_in_front_and_as_the_last_and_lose_it_again() {
    for (name, text) in LISTS {
        let node = Node::with(&[(name, text)]);
        fs::set_permissions(node.path(name), PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(install(&node.what).unwrap(), Done::Changed, "{name}");
        let types = node.types(name);
        assert_eq!(types.first(), types.last(), "{name}: {types:?}");
        assert_eq!(types.iter().filter(|t| *t == TYPE).count(), 2, "{name}: {types:?}");
        assert_eq!(fs::metadata(node.path(name)).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
        assert_eq!(fs::read_to_string(node.what.bin_dir.join(TYPE)).unwrap(), "first build");
        // What is not ours is there as it was written.
        let now = node.read(name);
        for part in [
            r#"{"type": "calico-ipam", "assign_ipv6": "true"}"#,
            "[2.50, 1.0e5]",
            "\"future\"",
            "\t\t\"mtu\": 1500",
        ] {
            assert_eq!(now.contains(part), text.contains(part), "{name}: {part} in {now}");
        }
        assert_eq!(install(&node.what).unwrap(), Done::Nothing, "{name}");
        assert_eq!(node.read(name), now);

        assert_eq!(uninstall(&node.what.conf_dir, &node.what.bin_dir).unwrap(), Done::Changed);
        assert_eq!(List::parse(&node.read(name)).unwrap(), List::parse(text).unwrap(), "{name}");
        assert!(!node.what.bin_dir.join(TYPE).exists());
        assert_eq!(uninstall(&node.what.conf_dir, &node.what.bin_dir).unwrap(), Done::Nothing);
        assert_eq!(node.names(), [name]);
    }
}

#[test]
fn the_first_configuration_by_name_is_the_one_and_others_are_left_alone() {
    let [calico, flannel, ..] = LISTS;
    let broken = ("99-broken.conflist", "{");
    let node = Node::with(&[
        flannel,
        calico,
        broken,
        ("00-readme.txt", "no configuration"),
        ("calico-kubeconfig", ""),
    ]);
    install(&node.what).unwrap();
    assert_eq!(node.types(calico.0).len(), 5);
    assert_eq!(node.read(flannel.0), flannel.1);
    uninstall(&node.what.conf_dir, &node.what.bin_dir).unwrap();
    assert_eq!((node.read(flannel.0), node.read(broken.0)), (flannel.1.to_owned(), broken.1.to_owned()));
}

#[test]
fn a_single_plugin_is_made_a_list_and_comes_back() {
    let node = Node::with(&[("10-one.conf", SINGLE)]);
    install(&node.what).unwrap();
    assert_eq!(node.names(), ["10-one.conf.before-netpol", "10-one.conflist"]);
    assert_eq!(node.types("10-one.conflist"), [TYPE, "ptp", TYPE]);
    let list: Value = serde_json::from_str(&node.read("10-one.conflist")).unwrap();
    assert_eq!((&list["name"], &list["cniVersion"]), (&"one".into(), &"0.4.0".into()));
    assert_eq!(list["plugins"][1]["ipam"]["subnet"], "10.1.0.0/16");
    assert_eq!(install(&node.what).unwrap(), Done::Nothing);
    // Written anew by its owner, with another range.
    fs::write(node.path("10-one.conf"), SINGLE.replace("10.1.", "10.2.")).unwrap();
    install(&node.what).unwrap();
    assert!(node.read("10-one.conflist").contains("10.2.0.0/16"));
    uninstall(&node.what.conf_dir, &node.what.bin_dir).unwrap();
    assert_eq!(node.names(), ["10-one.conf"]);
    assert_eq!(node.read("10-one.conf"), SINGLE.replace("10.1.", "10.2."));
}

#[test]
fn other_options_and_another_build_take_the_place_of_those_before() {
    let [calico, ..] = LISTS;
    let mut node = Node::with(&[calico]);
    install(&node.what).unwrap();
    fs::write(&node.what.plugin, "second build").unwrap();
    node.what.entry =
        Entry { hold: false, dir: "/run/x".into(), timeout: Duration::from_secs(3), fail_open: true };
    assert_eq!(install(&node.what).unwrap(), Done::Changed);
    let list: Value = serde_json::from_str(&node.read(calico.0)).unwrap();
    let plugins = list["plugins"].as_array().unwrap();
    assert_eq!((plugins.len(), &plugins[0]["type"]), (4, &"calico".into()));
    let ours = serde_json::json!({"type": TYPE, "timeoutSeconds": 3, "dir": "/run/x", "failOpen": true});
    assert_eq!(plugins[3], ours);
    assert_eq!(fs::read_to_string(node.what.bin_dir.join(TYPE)).unwrap(), "second build");
    assert!(node.folder.path().exists());
}

#[test]
fn what_cannot_be_chained_is_named_and_left_as_it_is() {
    for (text, named) in [
        ("{", "EOF"),
        (r#"{"cniVersion": "1.0.0", "name": "a"}"#, "plugins"),
        (r#"{"cniVersion": "1.0.0", "name": "a", "plugins": []}"#, "plugins"),
        (r#"{"cniVersion": "0.2.0", "name": "a", "plugins": [{"type": "x"}]}"#, "0.2.0"),
        (r#"{"name": "a", "plugins": [{"type": "x"}]}"#, "cniVersion"),
        (r#"{"cniVersion": "1.0.0", "plugins": [{"type": "netpol-cni"}]}"#, "plugins"),
    ] {
        let node = Node::with(&[("10-a.conflist", text)]);
        let error = install(&node.what).unwrap_err().to_string();
        assert!(error.contains("10-a.conflist") && error.contains(named), "{text}: {error}");
        assert_eq!((node.read("10-a.conflist").as_str(), node.names().len()), (text, 1));
    }
    let node = Node::with(&[]);
    assert!(matches!(install(&node.what), Err(InstallError::NoConfiguration(_))));
}
