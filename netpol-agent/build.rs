//! Embeds the kernel object that `cargo xtask build` makes. Without it everything builds, and loading says what is missing.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=NETPOL_BPF_OBJECT");
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let object = env::var_os("NETPOL_BPF_OBJECT")
        .map_or_else(|| manifest.join("../target/bpf/netpol.o"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("netpol.o");
    // An empty file stands for "not built": the loader turns it into an error with the command to run.
    fs::write(embedded, fs::read(object).unwrap_or_default())?;
    Ok(())
}
