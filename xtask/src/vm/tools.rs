//! Programs of the host that the guest's tests call, and the shared libraries that these and the guest's own programs need.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cpio::Archive, guest::read};
use crate::command;

/// Program and Debian package. They appear as `/bin/NAME`.
const TOOLS: &[(&str, &str)] = &[("ip", "iproute2"), ("unshare", "util-linux"), ("true", "coreutils")];

/// Adds the tools, and the libraries that they and `programs` are linked with.
///
/// # Errors
/// Which one is missing.
pub(super) fn add<'a>(archive: &mut Archive, programs: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        libraries.extend(libraries_of(&command::output(Command::new("ldd").arg(program))?));
    }
    for (name, package) in TOOLS {
        let program =
            command::find_program(name).with_context(|| format!("no program {name} (package {package})"))?;
        libraries.extend(libraries_of(&command::output(Command::new("ldd").arg(&program))?));
        archive.program(&format!("bin/{name}"), &read(&program)?);
    }
    let mut folders = BTreeSet::new();
    for library in &libraries {
        for folder in folders_above(library) {
            if folders.insert(folder.clone()) {
                archive.folder(&folder);
            }
        }
        archive.program(relative(library), &read(Path::new(library))?);
    }
    Ok(())
}

/// The paths in lines of `ldd`: `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn libraries_of(said: &str) -> Vec<String> {
    said.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect()
}

/// `/lib/a/b.so`: `lib`, `lib/a`.
fn folders_above(file: &str) -> Vec<String> {
    let mut folders: Vec<String> = PathBuf::from(relative(file))
        .ancestors()
        .skip(1)
        .filter(|folder| *folder != Path::new(""))
        .map(|folder| folder.display().to_string())
        .collect();
    folders.reverse();
    folders
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_lines_name_a_library() {
        let said =
            "\tlinux-vdso.so.1 (0x7ff)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f0)\n\t/lib64/ld.so.2 (0x7f1)\n";
        assert_eq!(libraries_of(said), ["/lib/x/libc.so.6", "/lib64/ld.so.2"]);
    }

    #[test]
    fn folders_come_from_the_top_down() {
        assert_eq!(folders_above("/lib/a/b.so"), ["lib", "lib/a"]);
    }
}
