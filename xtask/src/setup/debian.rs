//! Debian's own Rust packages, which hold a `core` built for BPF: unpacked under `target/`, nothing installed.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::{
    Apt,
    linker::{self, llvm_prefix},
    rustup::llvm_major,
    toolchain::Compiler,
    unpack_packages,
};
use crate::{command, paths::Paths, progress::Progress};

/// Has the BPF `core`; absent from a release (or a package list) that is too old.
const BPF_CORE: &str = "libstd-rust-web-dev-bpf";
/// The host's standard library; names the package of the compiler's shared libraries.
const HOST_STD: &str = "libstd-rust-web-dev";

fn folder(paths: &Paths) -> PathBuf {
    paths.toolchain().join("debian")
}

fn libraries(paths: &Paths) -> PathBuf {
    folder(paths).join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

/// The compiler that an earlier run unpacked, if it runs.
///
/// # Errors
/// If it is there and runs, but does not say which LLVM it has.
pub(super) fn unpacked(paths: &Paths) -> Result<Option<Compiler>> {
    let rustc = folder(paths).join("usr/bin/rustc");
    if !rustc.is_file() {
        return Ok(None);
    }
    let libraries = libraries(paths);
    // It does not run if LLVM's package has been removed; fetching again then brings LLVM back.
    let Ok(version) = command::output(Command::new(&rustc).arg("-vV").env("LD_LIBRARY_PATH", &libraries))
    else {
        return Ok(None);
    };
    let release = version.lines().next().unwrap_or_default().trim();
    let clippy_driver = folder(paths).join("usr/bin/clippy-driver");
    Ok(Some(Compiler {
        name: format!("Debian's {release}"),
        cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into(),
        rustc,
        libraries: Some(libraries),
        clippy_driver: clippy_driver.is_file().then_some(clippy_driver),
        llvm: llvm_major(&version)?,
        build_std: false,
    }))
}

/// Downloads and unpacks the packages.
///
/// # Errors
/// If apt is missing or has no such packages; if they do not run once unpacked.
pub(super) fn fetch(paths: &Paths, apt: &Apt) -> Result<Compiler> {
    apt.require()?;
    let mut progress = Progress::new("setup: compiler", 4);
    let packages = progress.step("asking apt for Rust with a BPF target", || {
        apt.update(paths);
        packages(apt)
    })?;
    progress.step(&format!("making sure of LLVM {}, which that compiler uses", packages.llvm), || {
        match llvm_prefix(packages.llvm) {
            Some(_) => Ok(()),
            None => linker::install_llvm(paths, apt, packages.llvm),
        }
    })?;
    let downloads = paths.toolchain().join("debian.packages");
    let count = packages.names.len();
    progress.step(&format!("downloading {count} packages (95 MB)"), || {
        apt.download(&packages.names, &downloads)
    })?;
    progress.step("unpacking them", || {
        let unfinished = paths.toolchain().join("debian.unfinished");
        command::remove_folder(&unfinished)?;
        unpack_packages(&downloads, &unfinished)?;
        command::remove_folder(&folder(paths))?;
        fs::rename(&unfinished, folder(paths)).context("cannot move the unpacked compiler into place")?;
        command::remove_folder(&downloads)
    })?;
    match unpacked(paths)? {
        Some(compiler) => Ok(compiler),
        None => bail!("the unpacked {} does not run", folder(paths).join("usr/bin/rustc").display()),
    }
}

struct Packages {
    /// `name=version`, all of one version.
    names: Vec<String>,
    llvm: u32,
}

fn packages(apt: &Apt) -> Result<Packages> {
    let Some(version) = apt.candidate(BPF_CORE)? else {
        bail!(
            "apt knows no {BPF_CORE}: it is in Debian 12's security updates (`apt-cache policy {BPF_CORE}`)"
        );
    };
    let at = |name: &str| format!("{name}={version}");
    let runtime = apt
        .depends(&at(HOST_STD))?
        .into_iter()
        .find(|name| name.starts_with("libstd-rust-web-"))
        .with_context(|| format!("{HOST_STD} {version} names no libstd-rust-web-*"))?;
    let llvm = apt
        .depends(&at(&runtime))?
        .iter()
        .find_map(|name| name.strip_prefix("libllvm")?.parse().ok())
        .with_context(|| format!("{runtime} {version} names no libllvm*"))?;
    let names = ["rustc-web", HOST_STD, BPF_CORE, "rust-web-clippy", &runtime].map(at).to_vec();
    Ok(Packages { names, llvm })
}
