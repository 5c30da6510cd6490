//! Which agents speak of an object that all of them see: the first few in an order of nodes that each object has its own of.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::report::{Report, Scope};
use crate::model::ObjectRef;

/// So many nodes may speak of one object: should the agent of one be down, the next does.
const SPEAKERS: usize = 3;
/// Where agents of many nodes find the same by themselves, they speak within so many turns, each at its own time.
const SPREAD: u32 = 3;

/// How long an agent waits before it speaks of an object; `None`: others do.
pub(super) fn delay(report: &Report, node: &str, nodes: &[String], turn: Duration) -> Option<Duration> {
    let place = place(node, &report.object);
    match report.scope {
        Scope::Cluster => {
            let before = nodes.iter().filter(|other| *other != node);
            let before = before.filter(|other| self::place(other, &report.object) < place).take(SPEAKERS);
            let rank = before.count();
            (rank < SPEAKERS).then(|| turn * u32::try_from(rank).unwrap_or(u32::MAX))
        }
        // A pod is this node's alone.
        Scope::Node if report.object.kind == "Pod" => Some(Duration::ZERO),
        Scope::Node => {
            let share = place as f64 / u64::MAX as f64;
            Some((turn * SPREAD).mul_f64(share))
        }
    }
}

/// Where a node stands among those that may speak of an object.
fn place(node: &str, object: &ObjectRef) -> u64 {
    let hash = Sha256::digest(format!("{node}\n{object}"));
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;

    const TURN: Duration = Duration::from_secs(10);

    fn report(name: &str, kind: &str, scope: Scope) -> Report {
        let object = Name::new("shop", name).of_kind(kind);
        Report {
            object,
            generation: 1,
            field: String::new(),
            reason: "Invalid",
            message: String::new(),
            scope,
        }
    }

    #[test]
    fn three_of_a_hundred_nodes_speak_of_an_object_one_after_the_other() {
        let nodes: Vec<String> = (0..100).map(|i| format!("node{i}")).collect();
        let mut firsts = std::collections::BTreeSet::new();
        for i in 0..20 {
            let report = report(&format!("p{i}"), "NetworkPolicy", Scope::Cluster);
            let mut delays: Vec<_> =
                nodes.iter().filter_map(|n| Some((delay(&report, n, &nodes, TURN)?, n))).collect();
            delays.sort();
            assert_eq!(delays.iter().map(|(d, _)| d.as_secs()).collect::<Vec<_>>(), [0, 10, 20]);
            firsts.insert(delays[0].1);
        }
        assert!(firsts.len() > 10, "the work is shared: {firsts:?}");
    }

    #[test]
    fn a_node_that_is_in_no_list_yet_speaks_all_the_same() {
        let report = report("p", "NetworkPolicy", Scope::Cluster);
        assert_eq!(delay(&report, "node1", &[], TURN), Some(Duration::ZERO));
    }

    #[test]
    fn of_its_own_pod_a_node_speaks_at_once_and_of_others_objects_in_its_own_time() {
        let nodes = [String::from("a"), String::from("b")];
        let pod = report("p", "Pod", Scope::Node);
        assert_eq!(delay(&pod, "a", &nodes, TURN), Some(Duration::ZERO));
        let policy = report("p", "NetworkPolicy", Scope::Node);
        let [a, b] = ["a", "b"].map(|node| delay(&policy, node, &nodes, TURN).unwrap());
        assert!(a != b && a <= 3 * TURN && b <= 3 * TURN, "{a:?} {b:?}");
    }
}
