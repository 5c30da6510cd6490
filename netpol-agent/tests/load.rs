//! The verifier takes every program (needs root).

use std::error::Error;

use netpol_agent::dataplane::kernel::{LoadError, LoadOptions, Object, Sizes};

/// Instructions that the verifier may walk for one program: well below half of what it is ready to
/// (`BPF_COMPLEXITY_LIMIT_INSNS`, a million since 5.2), so that no kernel is close to refusing; 6.1 walks half as
/// many again as 6.18. The stack needs no number of ours: 5.10, which rounds each frame up the most, refuses what does not fit. Kernels
/// before 5.16 do not tell.
const BUDGET: u32 = 300_000;

#[test]
fn every_program_is_verified() {
    let load = || {
        let mut object = Object::load(&LoadOptions { pin_dir: None, sizes: Sizes::small() })?;
        object.load_socket_programs()?;
        object.load_wire_program()?;
        Ok::<_, LoadError>(object)
    };
    let object = load().unwrap_or_else(|error| {
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
        let Some(instructions) = instructions else { continue };
        println!("{name}: {instructions} instructions");
        assert!(
            (1..=BUDGET).contains(&instructions),
            "{name}: {instructions} instructions, {BUDGET} allowed"
        );
    }
}
