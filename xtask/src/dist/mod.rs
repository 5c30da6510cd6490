//! `cargo xtask dist`: what is released. Programs without libraries, what they are made of, and checksums, in `target/dist`.

mod sbom;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    build::{self, elf::Elf},
    command,
    paths::Paths,
    progress::Progress,
    setup,
};

pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Not named like the folder, into which cargo would put what it builds for the host.
const PROFILE: &str = "shipped";
/// Package and programs.
const PROGRAMS: &[(&str, &[&str])] =
    &[("netpol-agent", &["netpol-agent", "netpolctl"]), ("netpol-cni", &["netpol-cni"])];
const CHECKSUMS: &str = "SHA256SUMS";

/// Builds everything anew that is not there, and leaves nothing else in the folder.
///
/// # Errors
/// What is missing, or what did not build; a program that needs a library at run time.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let toolchain = setup::to_build(paths)?;
    build::object_to_ship(paths, &toolchain)?;
    let folder = paths.target.join("dist");
    command::remove_folder(&folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut progress = Progress::new("dist", 3);
    progress.step("building the programs, optimised and static", || programs(paths, &folder))?;
    progress.step("listing what they are made of (CycloneDX)", || sbom::write(paths, &folder))?;
    progress.step("checksums", || checksums(&folder))?;
    println!("\n{}:", folder.display());
    command::run(Command::new("ls").arg("-lh").arg(&folder))
}

fn programs(paths: &Paths, folder: &Path) -> Result<()> {
    for (package, programs) in PROGRAMS {
        let mut cargo = build::cargo(paths, "build");
        cargo.args(["--locked", "--package", package, "--target", TARGET, "--profile", PROFILE]);
        for program in *programs {
            cargo.args(["--bin", program]);
        }
        // As for the guests of `cargo xtask vm`: build scripts and macros, which are for the host, keep their own flags.
        let flags = [vec!["-Ctarget-feature=+crt-static".to_owned()], paths.untold()].concat();
        command::run(cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")))?;
        for program in *programs {
            let built = paths.target.join(TARGET).join(PROFILE).join(program);
            let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
            is_static(&bytes).with_context(|| built.display().to_string())?;
            tells_nothing(&bytes, &paths.root).with_context(|| built.display().to_string())?;
            copy(&built, &folder.join(program))?;
        }
    }
    Ok(())
}

/// One with an interpreter would look for libraries, of which an empty image has none.
fn is_static(program: &[u8]) -> Result<()> {
    let elf = Elf::parse(program)?;
    let interpreter = elf.sections().iter().any(|section| section.name == ".interp");
    ensure!(!interpreter, "the program is not static: it names an interpreter");
    Ok(())
}

/// Where it was built is in no message of a panic and in no symbol.
fn tells_nothing(program: &[u8], root: &Path) -> Result<()> {
    let root = format!("{}/", root.display());
    let told = program.windows(root.len()).any(|window| window == root.as_bytes());
    ensure!(!told, "the program tells where it was built: {root}");
    Ok(())
}

fn checksums(folder: &Path) -> Result<()> {
    let mut names = fs::read_dir(folder)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot read {}", folder.display()))?;
    names.sort_unstable();
    let sums = command::output(Command::new("sha256sum").args(&names).current_dir(folder))?;
    let file = folder.join(CHECKSUMS);
    fs::write(&file, sums).with_context(|| format!("cannot write {}", file.display()))
}

fn copy(from: &Path, to: &PathBuf) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_tells_where_it_was_built_is_refused() {
        let root = Path::new("/home/me/netpol");
        assert!(tells_nothing(b"..panicked at /home/me/netpol/src/main.rs", root).is_err());
        assert!(tells_nothing(b"..panicked at /netpol/src/main.rs", root).is_ok());
    }

    #[test]
    fn a_program_that_needs_an_interpreter_is_refused() {
        // This test is one.
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(is_static(&bytes).unwrap_err().to_string().contains("not static"));
    }
}
