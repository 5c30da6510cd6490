//! The kernel modules a guest needs, in the order they must be loaded in.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::command;

/// What the programs are attached to and with. A name that the kernel has built in has no file.
const WANTED: &[&str] = &["veth", "sch_ingress", "cls_bpf", "act_bpf"];

/// One module, ready to be handed to the kernel.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    /// Decompressed.
    pub(super) image: Vec<u8>,
}

/// The wanted modules under `folder`, each after those it depends on.
///
/// # Errors
/// If a file cannot be read or decompressed.
pub(super) fn in_order(folder: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let mut order = Vec::new();
    for name in WANTED {
        visit(name, &files, &mut order)?;
    }
    Ok(order)
}

fn visit(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    let (Some(file), false) = (files.get(name), order.iter().any(|module| module.name == name)) else {
        return Ok(());
    };
    let image = read(file)?;
    for dependency in dependencies(&image) {
        visit(&dependency, files, order)?;
    }
    order.push(Module { name: name.to_owned(), image });
    Ok(())
}

/// Maps module names to files, compressed or not.
fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let cannot_read = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        let path = entry.path();
        if entry.file_type().with_context(cannot_read)?.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, "ko" | "ko.xz")) =
            entry.file_name().to_str().and_then(|name| name.split_once('.'))
        {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension() != Some(OsStr::new("xz")) {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    command::output_bytes(Command::new("xz").args(["--decompress", "--stdout"]).arg(file))
        .context("kernel modules are compressed with xz (Debian: xz-utils)")
}

/// The `depends=` line of the module's own description.
fn dependencies(image: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = image.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let rest = &image[start + KEY.len()..];
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_module_itself() {
        assert_eq!(
            dependencies(b"\x7fELF\0license=GPL\0depends=nf-tables,x_tables\0name=a\0"),
            ["nf_tables", "x_tables"]
        );
    }

    #[test]
    fn an_empty_list_is_none() {
        assert!(dependencies(b"\0depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn a_dependency_comes_first_and_once() {
        let folder = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        fs::create_dir_all(folder.join("net")).unwrap();
        fs::write(folder.join("net/veth.ko"), b"\0depends=act-bpf\0").unwrap();
        fs::write(folder.join("act_bpf.ko"), b"\0depends=\0").unwrap();
        let names: Vec<_> = in_order(&folder).unwrap().into_iter().map(|module| module.name).collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["act_bpf", "veth"]);
    }
}
