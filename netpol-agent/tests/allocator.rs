//! The agent's allocator has heard of its options: they are a symbol that nothing but the linker connects.

use std::process::Command;

#[test]
fn the_options_that_are_compiled_in_are_those_in_force() {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_netpol-agent"));
    let output =
        agent.arg("--version").env("_RJEM_MALLOC_CONF", "stats_print:true").output().expect("the agent");
    let said = String::from_utf8_lossy(&output.stderr);
    for option in ["narenas: 2", "dirty_decay_ms: 1000", "muzzy_decay_ms: 0"] {
        assert!(said.contains(&format!("opt.{option}")), "{option}: {said}");
    }
}
