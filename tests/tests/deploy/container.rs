//! A container of the manifest, made by runc as a container runtime makes it for the kubelet: its capabilities, its seccomp profile, its
//! read-only root, its mounts and nothing else of the machine. Only the places that volumes stand for are a bed's.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use netpol_tests::bed::{Node, program};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    command,
    render::{Objects, container, deploy, only},
};

/// Where the kubelet puts a pod's token.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What runtimes give every container, less what it has no use for.
const READ_ONLY: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const MASKED: [&str; 3] = ["/proc/kcore", "/proc/keys", "/sys/firmware"];

/// One container of the DaemonSet, on a node of a bed.
pub(crate) struct Spec<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) name: &'a str,
    pub(crate) node: &'a Node,
    /// Where the API server is.
    pub(crate) server: &'a str,
    /// What volumes stand for, by name.
    pub(crate) volumes: BTreeMap<&'static str, PathBuf>,
}

/// A running container. It ends when this is dropped.
pub(crate) struct Running {
    id: String,
    state: PathBuf,
    child: Child,
    log: PathBuf,
    _bundle: TempDir,
}

impl Spec<'_> {
    /// The configuration of the OCI runtime specification, without a root: what to run, in what, and with what.
    pub(crate) fn config(&self) -> Value {
        let daemon_set = only(self.objects, "DaemonSet");
        let (pod, container) = (&daemon_set["spec"]["template"]["spec"], container(daemon_set, self.name));
        let context = &container["securityContext"];
        let capabilities: Vec<String> = context["capabilities"]["add"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| format!("CAP_{}", name.as_str().unwrap()))
            .collect();
        assert_eq!(pod["hostNetwork"], true);
        let mut linux = json!({
            "namespaces": [
                {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network", "path": self.node.netns.path()},
            ],
            "readonlyPaths": READ_ONLY,
            "maskedPaths": MASKED,
            "cgroupsPath": self.id(),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        });
        if let Some(profile) = context["seccompProfile"]["localhostProfile"].as_str() {
            assert_eq!(profile, "netpol/agent.json");
            let profile = fs::read(deploy("seccomp/netpol-agent.json")).unwrap();
            linux["seccomp"] = serde_json::from_slice(&profile).unwrap();
        }
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": context["runAsUser"], "gid": 0},
                "args": command::line(self.objects, container, &[("api-server", self.server)], &self.node.name),
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "noNewPrivileges": context["allowPrivilegeEscalation"] == false,
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                },
            },
            "root": {"path": "root", "readonly": context["readOnlyRootFilesystem"]},
            "hostname": self.node.name,
            "mounts": self.mounts(container),
            "linux": linux,
        })
    }

    fn id(&self) -> String {
        let bed = self.node.folder.ancestors().nth(2).and_then(Path::file_name).unwrap();
        format!("netpol-{}-{}-{}", bed.display(), self.node.name, self.name)
    }

    fn mounts(&self, container: &Value) -> Vec<Value> {
        let system = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let bind = |source: &Path, destination: &str, options: &[&str]| {
            let options = [&["rbind"], options].concat();
            json!({"destination": destination, "type": "bind", "source": source, "options": options})
        };
        let mut mounts = vec![
            system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ];
        // What is built for tests is not linked statically.
        let libraries =
            ["/lib", "/lib64", "/usr/lib"].map(Path::new).into_iter().filter(|path| path.exists());
        mounts.extend(libraries.map(|path| bind(path, path.to_str().unwrap(), &["ro"])));
        if self.name == "agent" {
            mounts.push(bind(&self.node.folder.join("account"), SERVICE_ACCOUNT, &["ro"]));
        }
        for mount in container["volumeMounts"].as_array().unwrap() {
            let source = &self.volumes[mount["name"].as_str().unwrap()];
            let mut options = vec![if mount["readOnly"] == true { "ro" } else { "rw" }];
            options.push(match mount["mountPropagation"].as_str() {
                Some("HostToContainer") => "rslave",
                Some(other) => panic!("{other}"),
                None => "rprivate",
            });
            mounts.push(bind(source, mount["mountPath"].as_str().unwrap(), &options));
        }
        mounts
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Running {
        self.start_as(&self.config())
    }

    /// Starts it by another configuration.
    pub(crate) fn start_as(&self, config: &Value) -> Running {
        let bundle = tempfile::tempdir().unwrap();
        let root = bundle.path().join("root");
        fs::create_dir(&root).unwrap();
        for name in ["netpol-agent", "netpolctl", "netpol-cni"] {
            let built = program(name).unwrap();
            let target = root.join(name);
            // A link where that can be: the programs are large.
            fs::hard_link(&built, &target).or_else(|_| fs::copy(&built, &target).map(drop)).unwrap();
        }
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        let id = self.id();
        let log = self.node.folder.join(format!("{}.log", self.name));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let state = bundle.path().join("state");
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(&state).args(["run", "--bundle"]).arg(bundle.path()).arg(&id);
        runc.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = runc.spawn().expect("runc: `cargo xtask setup`");
        Running { id, state, child, log, _bundle: bundle }
    }
}

impl Running {
    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where it wrote it.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    fn runc(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("runc").arg("--root").arg(&self.state).args(arguments).output().unwrap()
    }

    /// The container's first process, as the machine numbers it, once it is there.
    pub(crate) fn pid(&self) -> Option<u32> {
        let state: Value = serde_json::from_slice(&self.runc(&["state", &self.id]).stdout).ok()?;
        (state["status"] == "running").then(|| state["pid"].as_u64()?.try_into().ok()).flatten()
    }

    /// Whether it has ended, and well.
    pub(crate) fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().unwrap().map(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} wrote:\n{}", self.id, self.log());
        }
        self.runc(&["kill", &self.id, "KILL"]);
        if let Err(error) = self.child.wait() {
            eprintln!("{}: {error}", self.id);
        }
        self.runc(&["delete", "--force", &self.id]);
    }
}
