use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::{
    api::{
        core::v1::{Container, ContainerPort, Namespace, Pod, PodIP, PodSpec, PodStatus},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    case::{Action, CasePod, InitialCluster},
    family::Family,
};

/// `namespace/name`
pub(super) type Key = (String, String);

/// The state of a case's cluster.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cluster {
    /// Name → labels, as the API server shows them.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// By namespace and name.
    pub pods: BTreeMap<(String, String), CasePod>,
    /// By namespace and name.
    pub policies: BTreeMap<(String, String), NetworkPolicy>,
}

impl From<&InitialCluster> for Cluster {
    fn from(initial: &InitialCluster) -> Self {
        Self {
            namespaces: initial.namespaces.clone(),
            pods: initial.pods.iter().map(|pod| ((pod.ns.clone(), pod.name.clone()), pod.clone())).collect(),
            policies: BTreeMap::new(),
        }
    }
}

impl Cluster {
    /// Makes one change.
    ///
    /// # Errors
    /// If the case contradicts itself: it changes what is not there, or creates what is.
    pub fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::CreatePolicy { policy } => {
                let key = policy_key(policy)?;
                if self.policies.insert(key.clone(), (**policy).clone()).is_some() {
                    bail!("policy {key:?} is there already");
                }
            }
            Action::UpdatePolicy { policy } => {
                let key = policy_key(policy)?;
                let old = self.policies.get_mut(&key).with_context(|| format!("no policy {key:?}"))?;
                *old = (**policy).clone();
            }
            Action::DeletePolicy { namespace, name } => {
                let key = (namespace.clone(), name.clone());
                self.policies.remove(&key).with_context(|| format!("no policy {key:?}"))?;
            }
            Action::CreateNamespace { name, labels } => {
                self.namespaces.insert(name.clone(), with_name(name, labels));
            }
            Action::SetNamespaceLabels { name, labels } => {
                let old = self.namespaces.get_mut(name).with_context(|| format!("no namespace {name}"))?;
                *old = with_name(name, labels);
            }
            Action::DeleteNamespace { name } => {
                self.namespaces.remove(name).with_context(|| format!("no namespace {name}"))?;
                self.pods.retain(|(ns, _), _| ns != name);
                self.policies.retain(|(ns, _), _| ns != name);
            }
            Action::CreatePod { pod } => {
                self.pods.insert((pod.ns.clone(), pod.name.clone()), pod.clone());
            }
            Action::SetPodLabels { namespace, name, labels } => {
                let key = (namespace.clone(), name.clone());
                let pod = self.pods.get_mut(&key).with_context(|| format!("no pod {key:?}"))?;
                pod.labels.clone_from(labels);
            }
            Action::DeletePod { namespace, name } => {
                let key = (namespace.clone(), name.clone());
                self.pods.remove(&key).with_context(|| format!("no pod {key:?}"))?;
            }
        }
        Ok(())
    }
}

fn policy_key(policy: &NetworkPolicy) -> Result<Key> {
    let meta = &policy.metadata;
    Ok((
        meta.namespace.clone().context("a policy without namespace")?,
        meta.name.clone().context("a policy without name")?,
    ))
}

/// The API server puts the namespace's name among its labels.
fn with_name(name: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert("kubernetes.io/metadata.name".into(), name.into());
    labels
}

/// The namespace as Kubernetes writes it.
pub(super) fn namespace_object(name: &str, labels: &BTreeMap<String, String>) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// The pod as Kubernetes writes it, running on `node`.
pub(super) fn pod_object(pod: &CasePod, family: Family, node: &str) -> Pod {
    let address = family.address(pod.ip).to_string();
    let containers = pod.containers.iter().map(|entry| Container {
        name: entry.name.clone(),
        ports: Some(vec![ContainerPort {
            name: Some(entry.name.clone()),
            container_port: entry.port.into(),
            protocol: Some(entry.protocol.clone()),
            ..ContainerPort::default()
        }]),
        ..Container::default()
    });
    Pod {
        metadata: ObjectMeta {
            namespace: Some(pod.ns.clone()),
            name: Some(pod.name.clone()),
            labels: Some(pod.labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(node.into()),
            containers: containers.collect(),
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: Some("Running".into()),
            pod_ip: Some(address.clone()),
            pod_ips: Some(vec![PodIP { ip: address }]),
            ..PodStatus::default()
        }),
    }
}
