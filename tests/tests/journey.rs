//! Requests through real nginx and real DNS in pods, under policies on every hop (needs root, nginx, dnsmasq and curl).

use std::path::Path;

use netpol_tests::{
    bed::Family,
    journey::{Journey, Sentence},
};

#[track_caller]
fn is_told(step: fn(&mut Journey, Family) -> anyhow::Result<Vec<Sentence>>) {
    let examples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/journey"));
    let mut journey = Journey::begin(examples).unwrap_or_else(|e| panic!("{e:#}"));
    for family in Family::ALL {
        let said = step(&mut journey, family).unwrap_or_else(|e| panic!("{family:?}: {e:#}"));
        println!("{said:#?}");
    }
}

#[test]
fn a_client_outside_reaches_what_the_ingress_controller_may_reach() {
    is_told(Journey::through_the_ingress_controller);
}

#[test]
fn pods_reach_services_by_names_that_a_server_in_a_pod_knows() {
    is_told(Journey::by_name);
}
