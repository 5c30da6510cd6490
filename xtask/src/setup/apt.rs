//! Debian's packages: ask, download, unpack, install.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{command, paths::Paths};

/// The machine's apt. Updates its lists at most once a run, and only if something is missing.
#[derive(Debug, Default)]
pub(crate) struct Apt {
    updated: Cell<bool>,
}

impl Apt {
    /// Fails on a machine without apt.
    ///
    /// # Errors
    /// That there is no `apt-get`.
    pub(crate) fn require(&self) -> Result<()> {
        match command::find_program("apt-get") {
            Some(_) => Ok(()),
            None => bail!("this machine has no apt-get"),
        }
    }

    /// Fetches the package lists. Where that is not possible they stay as they are, and it says so: one source of many that
    /// cannot be reached must not stop what the others have.
    pub(crate) fn update(&self, paths: &Paths) {
        if self.updated.replace(true) {
            return;
        }
        if !is_root() {
            println!(
                "       not root: using apt's package lists as they are (`apt-get update` as root renews them)"
            );
            return;
        }
        let update =
            command::run_logged(Command::new("apt-get").args(["-q", "update"]), &paths.log("apt-update"));
        if let Err(error) = update {
            println!("       using apt's package lists as they are: {error:#}");
        }
    }

    /// The version that would be installed, if apt knows the package.
    ///
    /// # Errors
    /// If `apt-cache` fails.
    pub(crate) fn candidate(&self, package: &str) -> Result<Option<String>> {
        let policy = command::output(c_locale(Command::new("apt-cache").args(["policy", package])))?;
        Ok(candidate_in(&policy))
    }

    /// The names of the packages that `name=version` depends on.
    ///
    /// # Errors
    /// If apt does not know it.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let record = command::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]))?;
        Ok(depends_in(&record))
    }

    /// Installs into the system; never removes or upgrades for it.
    ///
    /// # Errors
    /// Without root: which command to run. Otherwise what apt said.
    pub(crate) fn install(&self, paths: &Paths, packages: &[&str]) -> Result<()> {
        let names = packages.join(" ");
        if !is_root() {
            bail!("missing and not root: run `apt-get install {names}` as root");
        }
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-y", "--no-install-recommends", "--no-remove", "install"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command::run_logged(&mut apt, &paths.log("apt-install"))
            .with_context(|| format!("cannot install {names}"))
    }

    /// Downloads into `folder`, which is emptied first.
    ///
    /// # Errors
    /// What apt said.
    pub(crate) fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        command::remove_folder(folder)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut apt = Command::new("apt-get");
        // Its sandbox user cannot write into a checkout that belongs to somebody else; the files are signed anyway.
        apt.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(packages).current_dir(folder);
        command::output(&mut apt).map(drop)
    }
}

/// Unpacks every package in `downloads` into `folder`.
///
/// # Errors
/// If a folder cannot be read or written, or `dpkg-deb` fails.
pub(crate) fn unpack_packages(downloads: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for package in debs(downloads)? {
        command::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder))?;
    }
    Ok(())
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether we may install packages.
pub(crate) fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

fn c_locale(command: &mut Command) -> &mut Command {
    command.env("LC_ALL", "C")
}

fn candidate_in(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

fn depends_in(record: &str) -> Vec<String> {
    let list = record.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    list.split(',').filter_map(|one| one.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_known_by_name_only_has_no_candidate() {
        let policy = "foo:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(candidate_in(policy), None);
    }

    #[test]
    fn the_candidate_is_read_whole() {
        let policy = "foo:\n  Installed: (none)\n  Candidate: 1:1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(candidate_in(policy).as_deref(), Some("1:1.96.0+dfsg1-1~deb12u2"));
    }

    #[test]
    fn dependencies_are_names_without_versions() {
        let record = "Package: foo\nDepends: libc6 (>= 2.34), libllvm22, gcc | clang\nSize: 1\n";
        assert_eq!(depends_in(record), ["libc6", "libllvm22", "gcc"]);
    }
}
