//! libFuzzer on the target that `NETPOL_FUZZ_TARGET` names; `cargo xtask fuzz --target NAME` builds and runs it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use netpol_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("NETPOL_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let Some((_, target)) = found else { panic!("NETPOL_FUZZ_TARGET names no target: {wanted:?}") };
    *target
});

fuzz_target!(|data: &[u8]| TARGET(data));
