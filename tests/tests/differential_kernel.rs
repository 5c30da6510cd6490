//! The kernel programs, with their maps written by the agent's engine, against the reference evaluator (needs root).

use netpol_tests::{
    random::{Effort, differential},
    station::KernelGround,
};

#[test]
fn random_clusters_and_packets_get_the_evaluator_s_verdict_from_the_kernel() {
    let ground = KernelGround::enter().expect("a network namespace");
    let answered = differential(Effort { lives: 64, shrinking: 100 }, ground)
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert!(answered.questions > 1_000 && answered.through_services > 50, "too few: {answered:?}");
}
