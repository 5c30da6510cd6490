//! What is wrong with any Service or policy.

use super::{Finding, Severity, policy, service};
use crate::oracle::World;

/// Everything that clients on `node` would stumble upon; notes are left out.
#[must_use]
pub fn cluster(world: &World, node: &str) -> Vec<Finding> {
    let services = world.services.iter().flat_map(|object| service::endpoints(world, node, object));
    let policies = world.policies.iter().flat_map(|object| policy::idle(world, object));
    services.chain(policies).filter(|finding| finding.severity != Severity::Note).collect()
}
