//! The kernel programs, with their maps written by the agent's engine, against the reference evaluator (needs root).

use netpol_tests::{
    random::{Effort, differential},
    station::KernelGround,
};

#[test]
fn random_clusters_and_packets_get_the_evaluator_s_verdict_from_the_kernel() {
    let ground = KernelGround::enter().expect("a network namespace");
    let answered = differential(Effort { comparisons: 100_000, shrinking: 200 }, ground)
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert!(answered.through_services > 2_000 && answered.denied > 10_000, "too few: {answered:?}");
}
