//! What building and testing need beyond cargo: found where it is, fetched where it is not.
//!
//! Each part looks first for what an earlier run left, so that a second run costs a fraction of a second.

mod apt;
mod debian;
mod kube;
mod linker;
mod packages;
mod rustup;
mod servers;
mod toolchain;

pub(crate) use self::{
    apt::{Apt, is_root, unpack_packages},
    toolchain::{TARGET as BPF_TARGET, Toolchain},
};

use anyhow::{Result, bail};

use self::toolchain::Compiler;
use crate::{paths::Paths, progress::Progress};

/// Everything: the BPF toolchain and the packages that tests and demo need.
///
/// # Errors
/// What is missing and the command that gets it.
pub(crate) fn all(paths: &Paths) -> Result<Toolchain> {
    let apt = Apt::default();
    let toolchain = toolchain(paths, &apt)?;
    packages::ensure(paths, &apt)?;
    servers::ensure(paths, &apt)?;
    kube::ensure(paths, &apt)?;
    println!("setup: in place ({}; {})", toolchain.compiler.name, packages::summary());
    Ok(toolchain)
}

/// The BPF toolchain alone: what building takes.
///
/// # Errors
/// As [`all`].
pub(crate) fn to_build(paths: &Paths) -> Result<Toolchain> {
    toolchain(paths, &Apt::default())
}

/// Compiler and linker for the kernel object: a rustup nightly with `rust-src`, else Debian's packages.
fn toolchain(paths: &Paths, apt: &Apt) -> Result<Toolchain> {
    let mut refused = Vec::new();
    for candidate in rustup::candidates() {
        match candidate.and_then(|compiler| with_linker(paths, apt, compiler)) {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => refused.push(format!("- {error:#}")),
        }
    }
    let debian = match debian::unpacked(paths)? {
        Some(compiler) => Ok(compiler),
        None => debian::fetch(paths, apt),
    };
    match debian.and_then(|compiler| with_linker(paths, apt, compiler)) {
        Ok(toolchain) => Ok(toolchain),
        Err(error) => bail!(
            "no compiler for the kernel programs. Tried:\n{}\n- Debian's packages: {error:#}\n\
             Either of these gets one:\n  rustup toolchain install nightly --component rust-src\n  \
             (as root, on Debian 12 with its security updates) apt-get update && cargo xtask setup",
            refused.join("\n")
        ),
    }
}

fn with_linker(paths: &Paths, apt: &Apt, compiler: Compiler) -> Result<Toolchain> {
    let linker = match linker::cached(paths, compiler.llvm) {
        Some(linker) => linker,
        None => Progress::new("setup: bpf-linker", 1)
            .step(&format!("building bpf-linker for LLVM {} (about a minute)", compiler.llvm), || {
                linker::install(paths, apt, compiler.llvm)
            })?,
    };
    Ok(Toolchain { compiler, linker })
}
