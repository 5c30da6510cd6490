use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use netpol_agent::model::ObjectRef;
use netpol_common::net::proto;
use serde_json::Value;

use super::{
    case::Port,
    cluster::{Cluster, Key, namespace_object, pod_object},
    family::Family,
    target::{Probe, Seen, Target},
    truth::Ends,
};
use crate::{
    bed::{self, AgentOptions, Bed, ClusterSpec, Place, object_ref},
    probe::{Cell, Outcome, Protocol},
};

/// How long the agents may take to come up.
const START: Duration = Duration::from_secs(30);
/// How long a change may take until every connection is as it should be.
const WITHIN: Duration = Duration::from_secs(5);

/// Real agents on a bed of two nodes, one with each CNI plugin, and sockets in the pods' namespaces.
pub struct SocketTarget {
    bed: Bed,
    applied: BTreeMap<ObjectRef, Value>,
    family: Family,
}

impl SocketTarget {
    /// Builds the nodes and starts the agents.
    ///
    /// # Errors
    /// If the bed cannot be built or an agent does not come up.
    pub fn build(family: Family) -> Result<Self> {
        let spec = ClusterSpec { families: vec![of_bed(family)], ..ClusterSpec::default() };
        let mut bed = Bed::build(&spec)?;
        bed.start_agents(&AgentOptions::default())?;
        bed.await_agents(START)?;
        Ok(Self { bed, applied: BTreeMap::new(), family })
    }

    fn objects(&self, cluster: &Cluster, family: Family) -> Result<BTreeMap<ObjectRef, Value>> {
        let mut objects = Vec::new();
        for (name, labels) in &cluster.namespaces {
            objects.push(serde_json::to_value(namespace_object(name, labels))?);
        }
        let nodes = self.bed.nodes();
        for pod in cluster.pods.values() {
            // By the last byte of the address, so that pods of one namespace and pods of one name meet on one node and
            // on two.
            let [.., third, last] = pod.ip.octets();
            let node = &nodes[usize::from(third + last) % nodes.len()].name;
            let pod: Pod = pod_object(pod, family, node);
            objects.push(serde_json::to_value(pod)?);
        }
        for policy in cluster.policies.values() {
            let policy: NetworkPolicy = family.policy(policy);
            objects.push(serde_json::to_value(policy)?);
        }
        objects.into_iter().map(|object| Ok((object_ref(&object)?, object))).collect()
    }
}

impl Target for SocketTarget {
    fn follow(&mut self, cluster: &Cluster, family: Family) -> Result<()> {
        if family != self.family {
            bail!("the bed was built for {:?}", self.family);
        }
        let wanted = self.objects(cluster, family)?;
        // Inner objects first: with a namespace the bed deletes everything that it still knows there.
        let mut gone: Vec<ObjectRef> =
            self.applied.keys().filter(|object| !wanted.contains_key(object)).cloned().collect();
        gone.sort_by_key(|object| object.kind == "Namespace");
        self.bed.delete(&gone)?;
        let changed: Vec<Value> = wanted
            .iter()
            .filter(|(object, value)| self.applied.get(object) != Some(value))
            .map(|(_, value)| value.clone())
            .collect();
        self.bed.apply(&changed)?;
        self.applied = wanted;
        Ok(())
    }

    fn probe_all(&mut self, probes: &[(Probe<'_>, Ends)]) -> Result<Vec<Seen>> {
        let family = of_bed(self.family);
        let name = |key: &Key| format!("{}/{}", key.0, key.1);
        let cells = probes.iter().map(|(probe, ends)| {
            let protocol = match probe.port.protocol {
                proto::TCP => Protocol::Tcp,
                proto::UDP => Protocol::Udp,
                other => bail!("sockets do not speak protocol {other}"),
            };
            let (from, to) = (Place::Pod(name(probe.from)), name(probe.to));
            Ok((Cell { from, to, protocol, port: probe.port.port, family }, ends.combined()))
        });
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let wrong = self.bed.settle(&cells, WITHIN)?;
        // Silence where an answer was due may be a machine that is busy; what policy denies stays silent. An answer that
        // must not be is final.
        let (late, mut wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|(_, o)| *o == Outcome::Silent);
        let late: Vec<_> = late.into_iter().map(|(cell, _)| (cell, true)).collect();
        wrong.extend(self.bed.settle(&late, WITHIN)?);
        let wrong: BTreeMap<Cell, Outcome> = wrong.into_iter().collect();
        let seen = cells.iter().map(|(cell, expected)| match wrong.get(cell) {
            None => Ok(*expected),
            Some(Outcome::Answered(_)) => Ok(true),
            Some(Outcome::Silent) => Ok(false),
            Some(other) => Err(anyhow::anyhow!("{other:?}")).with_context(|| format!("{cell:?}")),
        });
        seen.map(|seen| Ok(Seen { combined: Some(seen?), ..Seen::default() })).collect()
    }

    fn knows(&self, port: &Port) -> bool {
        matches!(port.protocol, proto::TCP | proto::UDP)
    }
}

fn of_bed(family: Family) -> bed::Family {
    match family {
        Family::V4 => bed::Family::V4,
        Family::V6 => bed::Family::V6,
    }
}
