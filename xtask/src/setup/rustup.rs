//! Nightly toolchains that rustup has installed.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::{linker, toolchain::Compiler};
use crate::command;

/// Every nightly, usable or with the reason why it is not.
pub(crate) fn candidates() -> Vec<Result<Compiler>> {
    let Ok(list) = command::output(Command::new("rustup").args(["toolchain", "list"])) else {
        return vec![Err(anyhow::anyhow!("rustup: not installed"))];
    };
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let nightlies: Vec<_> = names.filter(|name| name.starts_with("nightly")).map(inspect).collect();
    if nightlies.is_empty() {
        return vec![Err(anyhow::anyhow!("rustup: has no nightly toolchain"))];
    }
    nightlies
}

fn inspect(name: &str) -> Result<Compiler> {
    let which = |program: &str| -> Result<PathBuf> {
        let path = command::output(Command::new("rustup").args(["which", "--toolchain", name, program]))
            .with_context(|| format!("rustup toolchain {name}: no {program}"))?;
        Ok(PathBuf::from(path.trim()))
    };
    let rustc = which("rustc")?;
    let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let core = PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !core.is_file() {
        bail!("rustup toolchain {name}: no rust-src (`rustup component add rust-src --toolchain {name}`)");
    }
    let version = command::output(Command::new(&rustc).arg("-vV"))?;
    let llvm = llvm_major(&version)?;
    if !linker::SUPPORTED_LLVM.contains(&llvm) {
        bail!("rustup toolchain {name}: uses LLVM {llvm}, bpf-linker {} does not", linker::VERSION);
    }
    Ok(Compiler {
        name: format!("rustup {name}, LLVM {llvm}"),
        cargo: which("cargo")?,
        rustc,
        libraries: None,
        clippy_driver: which("clippy-driver").ok(),
        llvm,
        build_std: true,
    })
}

/// The LLVM major version in the output of `rustc -vV`.
pub(super) fn llvm_major(version: &str) -> Result<u32> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(|llvm| llvm.split('.').next())
        .and_then(|major| major.parse().ok())
        .with_context(|| format!("`rustc -vV` names no LLVM version:\n{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_what_rustc_says() {
        let said = "rustc 1.96.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.2\n";
        assert_eq!(llvm_major(said).unwrap(), 22);
    }

    #[test]
    fn a_compiler_without_llvm_is_an_error() {
        assert!(llvm_major("rustc 1.96.0\n").is_err());
    }
}
