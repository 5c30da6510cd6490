use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Deserialize;

/// The file of a suite that holds the cluster every case starts from.
const INDEX: &str = "INDEX.json";

/// A folder of cases.
#[derive(Debug)]
pub struct Suite {
    /// What every case starts from.
    pub initial: InitialCluster,
    /// The cases, by file name.
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Index {
    initial_cluster: InitialCluster,
}

/// A cluster without policies.
#[derive(Clone, Debug, Deserialize)]
pub struct InitialCluster {
    /// Name → labels.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Every pod.
    pub pods: Vec<CasePod>,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Its file name without `.json`.
    pub id: String,
    /// What it is about.
    pub description: String,
    /// In order, on one cluster.
    pub steps: Vec<Step>,
}

/// Changes, and what is true after them.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// Made in order before anything is probed. Empty: probe again.
    pub actions: Vec<Action>,
    /// Source → destination → one character per entry of `matrix_ports`: `.` allowed, `i` denied by ingress only, `e` by
    /// egress only, `x` by both.
    pub matrix: BTreeMap<String, BTreeMap<String, String>>,
    /// What is probed, as `TCP/80`.
    pub matrix_ports: Vec<Port>,
}

/// A change of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Action {
    /// A new policy.
    CreatePolicy {
        /// The object.
        policy: Box<NetworkPolicy>,
    },
    /// A policy's new content.
    UpdatePolicy {
        /// The object.
        policy: Box<NetworkPolicy>,
    },
    /// A policy goes.
    DeletePolicy {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A new namespace.
    CreateNamespace {
        /// Its name.
        name: String,
        /// Its labels; `kubernetes.io/metadata.name` comes by itself.
        labels: BTreeMap<String, String>,
    },
    /// A namespace's labels are replaced as a whole.
    SetNamespaceLabels {
        /// Its name.
        name: String,
        /// Its labels; `kubernetes.io/metadata.name` stays.
        labels: BTreeMap<String, String>,
    },
    /// A namespace goes, with everything in it.
    DeleteNamespace {
        /// Its name.
        name: String,
    },
    /// A new pod.
    CreatePod {
        /// The pod.
        pod: CasePod,
    },
    /// A pod's labels are replaced as a whole.
    SetPodLabels {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// A pod goes.
    DeletePod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A pod as cases write it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct CasePod {
    /// Its namespace.
    pub ns: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its IPv4 address; the IPv6 one is made from it.
    pub ip: Ipv4Addr,
    /// Containers with one port each.
    pub containers: Vec<CaseContainer>,
}

/// A container's port.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct CaseContainer {
    /// Name of the port.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A port that is probed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Port {
    /// IANA protocol number.
    pub protocol: u8,
    /// Host order.
    pub port: u16,
    /// As written: `TCP/80`.
    pub text: String,
}

impl TryFrom<String> for Port {
    type Error = anyhow::Error;
    fn try_from(text: String) -> Result<Self> {
        let (name, number) =
            text.split_once('/').with_context(|| format!("{text:?} is not PROTOCOL/PORT"))?;
        let protocol = match name {
            "TCP" => netpol_common::net::proto::TCP,
            "UDP" => netpol_common::net::proto::UDP,
            "SCTP" => netpol_common::net::proto::SCTP,
            other => bail!("{other:?} is none of TCP, UDP and SCTP"),
        };
        let port = number.parse().with_context(|| format!("port of {text:?}"))?;
        Ok(Self { protocol, port, text })
    }
}

impl Suite {
    /// Reads every case of a folder whose id contains `pattern`.
    ///
    /// # Errors
    /// Naming the file that cannot be read or understood, or if no case is left.
    pub fn read(dir: &Path, pattern: &str) -> Result<Self> {
        let Index { initial_cluster } = read_json(&dir.join(INDEX))?;
        let mut files: Vec<PathBuf> = fs::read_dir(dir)
            .with_context(|| format!("folder {}", dir.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| {
            file.extension().is_some_and(|e| e == "json") && file.file_name().is_some_and(|n| n != INDEX)
        });
        files.sort();
        let mut cases = Vec::new();
        for file in files {
            let case: Case = read_json(&file)?;
            if case.id.contains(pattern) {
                cases.push(case);
            }
        }
        if cases.is_empty() {
            bail!("no case of {} matches {pattern:?}", dir.display());
        }
        Ok(Self { initial: initial_cluster, cases })
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(file: &Path) -> Result<T> {
    let text = fs::read(file).with_context(|| format!("file {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("file {}", file.display()))
}
