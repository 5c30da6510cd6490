//! What the programs are made of, in the form of CycloneDX: written by OWASP's own tool from cargo's metadata and lock file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::TARGET;
use crate::{command, paths::Paths};

const TOOL: &str = "cargo-cyclonedx";
const VERSION: &str = "0.5.9";
/// Packages that are released, by name and folder. The kernel object is a workspace of its own.
const PACKAGES: [&str; 3] = ["netpol-agent", "netpol-cni", "netpol-ebpf"];

/// Writes `PACKAGE.cdx.json` for each package into `folder`.
///
/// # Errors
/// If the tool cannot be had, or does not know a package.
pub(super) fn write(paths: &Paths, folder: &Path) -> Result<()> {
    let tool = tool(paths)?;
    for package in PACKAGES {
        let mut list = Command::new(&tool);
        list.args(["cyclonedx", "--format", "json", "--target", TARGET, "--manifest-path"]);
        list.arg(paths.root.join(package).join("Cargo.toml")).current_dir(&paths.root);
        command::run_logged(&mut list, &paths.log("cyclonedx"))?;
        let result = gather(paths, package, &folder.join(format!("{package}.cdx.json")));
        clean(paths)?;
        result?;
    }
    Ok(())
}

fn gather(paths: &Paths, package: &str, to: &Path) -> Result<()> {
    let made = paths.root.join(package).join(format!("{package}.cdx.json"));
    let text =
        fs::read_to_string(&made).with_context(|| format!("{TOOL} has not written {}", made.display()))?;
    ensure!(text.contains("\"bomFormat\": \"CycloneDX\""), "{} is no CycloneDX", made.display());
    fs::write(to, anywhere(&text, &paths.root)).with_context(|| format!("cannot write {}", to.display()))
}

/// Names of our own packages hold where they were built, which is nobody's business and different everywhere.
fn anywhere(text: &str, root: &Path) -> String {
    text.replace(&format!("file://{}/", root.display()), "file:///")
}

/// The tool writes beside the manifest of every member of the workspace.
fn clean(paths: &Paths) -> Result<()> {
    for folder in folders(paths) {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.to_string_lossy().ends_with(".cdx.json") {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn folders(paths: &Paths) -> Vec<PathBuf> {
    let members = [
        "netpol-common",
        "netpol-cni",
        "netpol-agent",
        "netpol-ebpf",
        "tests",
        "tests/browser",
        "tests/fuzz",
        "xtask",
    ];
    members.iter().map(|member| paths.root.join(member)).collect()
}

fn tool(paths: &Paths) -> Result<PathBuf> {
    let root = paths.toolchain().join(format!("{TOOL}-{VERSION}"));
    let program = root.join("bin").join(TOOL);
    if !program.is_file() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["install", TOOL, "--locked", "--version", VERSION, "--root"]).arg(&root);
        cargo
            .env("CARGO_TARGET_DIR", paths.toolchain().join(format!("{TOOL}.build")))
            .current_dir(&paths.root);
        command::run_logged(&mut cargo, &paths.log(TOOL))?;
        command::remove_folder(&paths.toolchain().join(format!("{TOOL}.build")))?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_was_built_is_not_told() {
        let text =
            r#""bom-ref": "path+file:///home/me/netpol/netpol-cni#0.1.0", "ref": "registry+https://x""#;
        let told = anywhere(text, Path::new("/home/me/netpol"));
        assert_eq!(told, r#""bom-ref": "path+file:///netpol-cni#0.1.0", "ref": "registry+https://x""#);
    }
}
