use anyhow::{Context, Result, bail};
use netpol_agent::oracle::{Party, Question, World, judge};

use super::{
    case::{Port, Step},
    cluster::{Cluster, Key, namespace_object, pod_object},
    family::Family,
};

/// What is true of a connection: `true` allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// By the source's policies.
    pub egress: bool,
    /// By the destination's.
    pub ingress: bool,
}

impl Ends {
    /// Allowed by both.
    #[must_use]
    pub fn combined(self) -> bool {
        self.egress && self.ingress
    }
}

/// What the case says of a connection. Where it cannot say it because the family turns the meaning of a block around, the
/// reference evaluator answers.
///
/// # Errors
/// If the matrix has no such entry or says something unknown.
pub fn truth(
    cluster: &Cluster,
    family: Family,
    step: &Step,
    from: &Key,
    to: &Key,
    port: usize,
) -> Result<Ends> {
    if cluster.policies.values().any(|policy| family.flips(policy)) {
        let port = step.matrix_ports.get(port).context("no such port")?;
        return evaluate(&world_of(cluster, family), family, from, to, port);
    }
    let (row, column) = (format!("{}/{}", from.0, from.1), format!("{}/{}", to.0, to.1));
    let entry = step.matrix.get(&row).and_then(|entries| entries.get(&column));
    let mark = entry.and_then(|text| text.chars().nth(port));
    match mark.with_context(|| format!("the matrix has no entry {row} → {column}, port {port}"))? {
        '.' => Ok(Ends { egress: true, ingress: true }),
        'i' => Ok(Ends { egress: true, ingress: false }),
        'e' => Ok(Ends { egress: false, ingress: true }),
        'x' => Ok(Ends { egress: false, ingress: false }),
        other => bail!("{other:?} in the matrix at {row} → {column}"),
    }
}

/// What the reference evaluator says.
pub(super) fn evaluate(world: &World, family: Family, from: &Key, to: &Key, port: &Port) -> Result<Ends> {
    let party = |key: &Key| Party::Pod { namespace: key.0.clone(), name: key.1.clone() };
    let family = match family {
        Family::V4 => netpol_agent::oracle::Family::V4,
        Family::V6 => netpol_agent::oracle::Family::V6,
    };
    let question =
        Question { from: party(from), to: party(to), family, protocol: port.protocol, port: port.port };
    let judgement = judge(world, &question)?;
    Ok(Ends { egress: judgement.egress.allows(), ingress: judgement.ingress.allows() })
}

/// The cluster as the evaluator reads it.
pub(super) fn world_of(cluster: &Cluster, family: Family) -> World {
    World {
        namespaces: cluster.namespaces.iter().map(|(name, labels)| namespace_object(name, labels)).collect(),
        pods: cluster.pods.values().map(|pod| pod_object(pod, family, "node")).collect(),
        policies: cluster.policies.values().map(|policy| family.policy(policy)).collect(),
        ..World::default()
    }
}
