//! A compiler and a linker that together make BPF objects.

use std::{path::PathBuf, process::Command};

use crate::paths::Paths;

/// A rustc that can compile `core` for, or has it for, `bpfel-unknown-none`.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// For people: where it comes from and its version.
    pub(crate) name: String,
    /// The cargo that drives it.
    pub(crate) cargo: PathBuf,
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// Where the compiler's own shared libraries lie, if the dynamic linker does not know.
    pub(crate) libraries: Option<PathBuf>,
    /// clippy of exactly this compiler, if it has one.
    pub(crate) clippy_driver: Option<PathBuf>,
    /// The LLVM major version it emits bitcode for; bpf-linker must not be older.
    pub(crate) llvm: u32,
    /// Whether `core` comes as source and is built along.
    pub(crate) build_std: bool,
}

/// [`Compiler`] and `bpf-linker`.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) compiler: Compiler,
    /// The `bpf-linker` program.
    pub(crate) linker: PathBuf,
}

impl Toolchain {
    /// `cargo SUBCOMMAND --release` on the crate of the kernel programs, for the BPF target.
    pub(crate) fn cargo(&self, paths: &Paths, subcommand: &str) -> Command {
        self.cargo_with(paths, subcommand, &[])
    }

    /// The same, with further flags of rustc.
    pub(crate) fn cargo_with(&self, paths: &Paths, subcommand: &str, flags: &[String]) -> Command {
        let flags = [&rustflags(), flags].concat();
        let compiler = &self.compiler;
        let mut cargo = Command::new(&compiler.cargo);
        cargo
            .arg(subcommand)
            .args(["--release", "--locked", "--target", TARGET])
            .args(compiler.build_std.then_some("-Zbuild-std=core"))
            .current_dir(paths.bpf_crate())
            // Set by the cargo that runs us, and not meant for the cargo we run.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("CARGO_TARGET_DIR", paths.target.join("bpf/build"))
            .env("RUSTC", &compiler.rustc)
            // `-Z` flags and `#![feature]` on a compiler that calls itself stable.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        if let Some(libraries) = &compiler.libraries {
            cargo.env("LD_LIBRARY_PATH", libraries);
        }
        cargo
    }
}

/// Little-endian BPF: the byte order of every machine we run on.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

fn rustflags() -> [String; 4] {
    [
        // aya-ebpf reads the registers of this machine's `pt_regs` by it.
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        // Both are load-bearing: without BTF of every function the verifier refuses an object that has more than one.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Without it LLVM clears even three bytes by calling a loop, on the packet's time and the verifier's.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
    ]
}
