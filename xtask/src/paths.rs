//! Where things lie.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

/// The folders of this checkout. Everything that xtask makes lies under `target`.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The workspace root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, absolute.
    pub(crate) target: PathBuf,
}

impl Paths {
    /// From the manifest folder that cargo names, and `CARGO_TARGET_DIR` where it is set.
    ///
    /// # Errors
    /// If the working directory cannot be read (it is needed for a relative `CARGO_TARGET_DIR`).
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root =
            PathBuf::from(manifest).parent().context("xtask's manifest lies in no workspace")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir().context("cannot read the working directory")?.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Compiler and linker for the kernel object.
    pub(crate) fn toolchain(&self) -> PathBuf {
        self.target.join("toolchain")
    }

    /// The kernel object, the file that the agent embeds.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.target.join("bpf/netpol.o")
    }

    /// The crate of the kernel programs, a workspace of its own.
    pub(crate) fn bpf_crate(&self) -> PathBuf {
        self.root.join("netpol-ebpf")
    }

    /// Flags of rustc that keep out of what it builds where that was, which is nobody's business and different everywhere.
    pub(crate) fn untold(&self) -> Vec<String> {
        let home = |name| env::var_os(name).map(PathBuf::from);
        let folders = [
            (home("HOME"), "/home"),
            (home("RUSTUP_HOME"), "/rustup"),
            (home("CARGO_HOME"), "/cargo"),
            (Some(self.root.clone()), "/netpol"),
        ];
        // Of several that fit rustc takes the last one.
        let known = folders.into_iter().filter_map(|(folder, told)| Some((folder?, told)));
        known.map(|(folder, told)| format!("--remap-path-prefix={}={told}", folder.display())).collect()
    }

    /// Output of noisy commands.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.target.join("xtask-logs").join(format!("{name}.log"))
    }
}
