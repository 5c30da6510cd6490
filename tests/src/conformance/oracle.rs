use anyhow::Result;
use netpol_agent::oracle::World;

use super::{
    cluster::Cluster,
    family::Family,
    target::{Probe, Seen, Target},
    truth::{Ends, evaluate, world_of},
};

/// The reference evaluator under test.
#[derive(Debug)]
pub struct OracleTarget {
    world: World,
    family: Family,
}

impl Default for OracleTarget {
    fn default() -> Self {
        Self { world: World::default(), family: Family::V4 }
    }
}

impl Target for OracleTarget {
    fn follow(&mut self, cluster: &Cluster, family: Family) -> Result<()> {
        self.world = world_of(cluster, family);
        self.family = family;
        Ok(())
    }

    fn probe_all(&mut self, probes: &[(Probe<'_>, Ends)]) -> Result<Vec<Seen>> {
        let seen = probes.iter().map(|(probe, _)| {
            let ends = evaluate(&self.world, self.family, probe.from, probe.to, probe.port)?;
            Ok(Seen {
                egress: Some(ends.egress),
                ingress: Some(ends.ingress),
                combined: Some(ends.combined()),
            })
        });
        seen.collect()
    }
}
