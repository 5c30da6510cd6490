//! The verifier takes every program (needs root).

use std::error::Error;

use netpol_agent::dataplane::kernel::{LoadOptions, Object, Sizes};

#[test]
fn every_program_is_verified() {
    let object =
        Object::load(&LoadOptions { pin_dir: None, sizes: Sizes::small() }).unwrap_or_else(|error| {
            let mut causes = vec![error.to_string()];
            let mut cause = error.source();
            while let Some(error) = cause {
                // The verifier's log ends with what it refuses.
                let text = error.to_string();
                causes.push(text.chars().skip(text.chars().count().saturating_sub(4_000)).collect());
                cause = error.source();
            }
            panic!("{}", causes.join("\n  "));
        });
    for (name, instructions) in object.verified_instructions() {
        assert!(instructions != Some(0), "{name} was not verified");
    }
}
