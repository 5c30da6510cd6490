//! Random bytes through the loaded programs, against a plain model of what should become of them (needs root).

use netpol_tests::{
    barrage::{Barrage, Shot},
    station::KernelGround,
};

#[test]
fn random_packets_meet_the_fate_that_the_model_foretells() {
    let mut barrage = Barrage::new(KernelGround::enter().expect("a network namespace"));
    let (mut shot, mut packets) = (Shot::new(), 0);
    for seed in 0.. {
        if packets >= 250_000 {
            break;
        }
        packets += barrage.volley(seed, &mut shot).unwrap_or_else(|error| panic!("{error:#}"));
    }
    println!("{shot:#?}");
    for way in [
        "from_pod: opens",
        "from_pod: opens through a Service",
        "from_pod: translated",
        "from_pod: policy",
        "from_pod: spoofed",
        "from_pod: malformed",
        "from_pod: fragment",
        "from_pod: mid-flow",
        "from_pod: invalid",
        "from_pod: pending",
        "from_pod: ethertype",
        "from_pod: too-deep",
        "from_pod: source-route",
        "from_pod: reset",
        "from_pod: unreachable",
        "from_pod: no-local-backend",
        "from_pod: collision",
        "from_pod: opens beside another",
        "from_pod: goes on beside another",
        "to_pod: opens",
        "to_pod: translated",
        "to_pod: policy",
        "to_pod: pending",
        "to_pod: spoofed",
        "to_pod: mid-flow",
        "to_pod: fragment",
    ] {
        assert!(shot.get(way).is_some_and(|count| *count > 20), "hardly anything went this way: {way}");
    }
}
