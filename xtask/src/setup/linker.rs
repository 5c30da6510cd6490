//! `bpf-linker`, built against the LLVM that the compiler uses.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::Apt;
use crate::{command, paths::Paths};

/// The release we build.
pub(super) const VERSION: &str = "0.13.0";
/// The LLVM majors that release has a feature for.
pub(super) const SUPPORTED_LLVM: RangeInclusive<u32> = 21..=23;

fn folder(paths: &Paths, llvm: u32) -> PathBuf {
    paths.toolchain().join(format!("bpf-linker-{VERSION}-llvm-{llvm}"))
}

/// The linker that an earlier run built, if it runs.
pub(super) fn cached(paths: &Paths, llvm: u32) -> Option<PathBuf> {
    let linker = folder(paths, llvm).join("bin/bpf-linker");
    // It does not run if LLVM's package has been removed since; then it is built anew.
    command::output(Command::new(&linker).arg("--version")).is_ok().then_some(linker)
}

/// Builds it, with LLVM's development files from apt if the machine has none.
///
/// # Errors
/// If LLVM's files are missing and cannot be had, or the build fails.
pub(super) fn install(paths: &Paths, apt: &Apt, llvm: u32) -> Result<PathBuf> {
    if llvm_prefix(llvm).is_none() {
        install_llvm(paths, apt, llvm)?;
    }
    let prefix = llvm_prefix(llvm).with_context(|| format!("llvm-{llvm}-dev has no libLLVM"))?;
    let root = folder(paths, llvm);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["install", "bpf-linker", "--locked", "--force", "--version", VERSION, "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(&root)
        .env("LLVM_PREFIX", prefix)
        .env("CARGO_TARGET_DIR", paths.toolchain().join("bpf-linker.build"))
        .current_dir(&paths.root);
    command::run_logged(&mut cargo, &paths.log("bpf-linker"))?;
    command::remove_folder(&paths.toolchain().join("bpf-linker.build"))?;
    cached(paths, llvm).with_context(|| format!("{} does not run", root.join("bin/bpf-linker").display()))
}

/// Debian's package of LLVM's development files.
///
/// # Errors
/// If it is not to be had, with the command that would install it.
pub(super) fn install_llvm(paths: &Paths, apt: &Apt, llvm: u32) -> Result<()> {
    let package = format!("llvm-{llvm}-dev");
    apt.require().with_context(|| format!("LLVM {llvm}'s development files are missing ({package})"))?;
    apt.update(paths);
    if apt.candidate(&package)?.is_none() {
        bail!("apt knows no {package}");
    }
    apt.install(paths, &[&package])
}

/// The folder whose `lib/` holds LLVM's shared library: `LLVM_PREFIX`, Debian's place, or what `llvm-config` says.
pub(super) fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let named = std::env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let debian = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let config = || {
        let program = command::find_program(&format!("llvm-config-{llvm}"))?;
        Some(PathBuf::from(command::output(Command::new(program).arg("--prefix")).ok()?.trim()))
    };
    let has_library = |prefix: &PathBuf| linkable(prefix, llvm);
    named
        .filter(has_library)
        .or_else(|| Some(debian).filter(has_library))
        .or_else(|| config().filter(has_library))
}

/// The plain `.so` comes with the development files; the runtime package has numbered names only.
fn linkable(prefix: &Path, llvm: u32) -> bool {
    let lib = prefix.join("lib");
    let numbered = [format!("libLLVM.so.{llvm}.1"), format!("libLLVM-{llvm}.so")];
    lib.join("libLLVM.so").exists() && numbered.iter().any(|name| lib.join(name).exists())
}
