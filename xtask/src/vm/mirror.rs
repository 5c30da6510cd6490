//! Debian's package archive as this machine reaches it, asked for suites that the machine itself does not use.
//!
//! Every suite has an apt state of its own under `target/vm`: nothing of the system's apt is changed, and no root is needed.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{command, setup};

/// A part of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suite {
    BullseyeSecurity,
    /// With its updates and security updates.
    Bookworm,
    TrixieBackports,
}

/// Where packages come from.
#[derive(Debug)]
pub(super) struct Mirror {
    main: String,
    security: String,
    states: PathBuf,
    updated: RefCell<BTreeSet<Suite>>,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

impl Mirror {
    /// The archive that the machine's own sources name.
    ///
    /// # Errors
    /// On a machine whose apt knows no Debian archive.
    pub(super) fn of_this_machine(folder: &Path) -> Result<Self> {
        let format = ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"];
        let sources = command::output(Command::new("apt-get").args(format))
            .context("the kernels and QEMU come from Debian's archive through apt")?;
        let (main, security) = archives(&sources).context(
            "apt's sources name no Debian release with its security updates (see `apt-cache policy`)",
        )?;
        Ok(Self { main, security, states: folder.join("apt"), updated: RefCell::default() })
    }

    /// Names of packages that match a pattern of `apt-cache search`.
    ///
    /// # Errors
    /// What apt said.
    pub(super) fn search(&self, suite: Suite, pattern: &str) -> Result<Vec<String>> {
        let found = command::output(self.apt("apt-cache", suite)?.args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them into `into`, which appears only when it is complete.
    ///
    /// # Errors
    /// What apt or dpkg said.
    pub(super) fn unpack(&self, suite: Suite, packages: &[String], into: &Path) -> Result<()> {
        self.unpack_by(into, |downloads| {
            command::output(self.apt("apt-get", suite)?.arg("download").args(packages).current_dir(downloads))
        })
    }

    /// As [`Self::unpack`], with all that the packages depend on and the system lacks.
    ///
    /// # Errors
    /// What apt or dpkg said.
    pub(super) fn unpack_with_dependencies(
        &self,
        suite: Suite,
        packages: &[&str],
        into: &Path,
    ) -> Result<()> {
        self.unpack_by(into, |downloads| {
            fs::create_dir_all(downloads.join("partial"))?;
            let mut apt = self.apt("apt-get", suite)?;
            // What is installed decides what is missing. Only downloaded: apt may plan to remove what it likes.
            apt.args(["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Debug::NoLocking=1"])
                .arg("-o")
                .arg(format!("Dir::Cache::archives={}", downloads.display()))
                .args(["-y", "--no-install-recommends", "--download-only", "install"])
                .args(packages);
            command::output(&mut apt)
        })
    }

    fn unpack_by(&self, into: &Path, download: impl FnOnce(&Path) -> Result<String>) -> Result<()> {
        let downloads = into.with_extension("packages");
        let unfinished = into.with_extension("unfinished");
        for folder in [&downloads, &unfinished, &into.to_path_buf()] {
            command::remove_folder(folder)?;
        }
        fs::create_dir_all(&downloads).with_context(|| format!("cannot create {}", downloads.display()))?;
        download(&downloads)?;
        setup::unpack_packages(&downloads, &unfinished)?;
        fs::rename(&unfinished, into).with_context(|| format!("cannot create {}", into.display()))?;
        command::remove_folder(&downloads)
    }

    /// `apt-get` or `apt-cache` with the suite's own state, its lists fetched once a run.
    fn apt(&self, program: &str, suite: Suite) -> Result<Command> {
        let state = self.states.join(format!("{suite:?}"));
        if self.updated.borrow_mut().insert(suite) {
            for folder in ["lists/partial", "cache/archives/partial"] {
                fs::create_dir_all(state.join(folder))
                    .with_context(|| format!("cannot create {}", state.display()))?;
            }
            fs::write(state.join("status"), "").context("cannot write apt's state")?;
            fs::write(state.join("sources.list"), self.sources(suite)).context("cannot write apt's state")?;
            command::output(with_state("apt-get", &state).arg("update"))
                .with_context(|| format!("cannot get Debian's package list of {suite:?}"))?;
        }
        Ok(with_state(program, &state))
    }

    fn sources(&self, suite: Suite) -> String {
        let Self { main, security, .. } = self;
        let releases = match suite {
            Suite::BullseyeSecurity => vec![(security, "bullseye-security")],
            Suite::Bookworm => {
                vec![(main, "bookworm"), (main, "bookworm-updates"), (security, "bookworm-security")]
            }
            Suite::TrixieBackports => vec![(main, "trixie-backports")],
        };
        let line = |(uri, release)| format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {release} main\n");
        releases.into_iter().map(line).collect()
    }
}

fn with_state(program: &str, state: &Path) -> Command {
    let mut apt = Command::new(program);
    let folder = |option: &str, at: &str| format!("{option}={}", state.join(at).display());
    for option in [
        folder("Dir::Etc::sourcelist", "sources.list"),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Dir::Etc::preferences=-".to_owned(),
        "Dir::Etc::preferencesparts=-".to_owned(),
        folder("Dir::State::lists", "lists"),
        folder("Dir::State::status", "status"),
        folder("Dir::Cache", "cache"),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
    ] {
        apt.arg("-o").arg(option);
    }
    apt
}

/// The archives of releases and of security updates, from lines of "URI RELEASE".
fn archives(sources: &str) -> Option<(String, String)> {
    let lines: Vec<(&str, &str)> = sources.lines().filter_map(|line| line.split_once(' ')).collect();
    let (security, release) =
        lines.iter().find_map(|(uri, release)| Some((uri, release.strip_suffix("-security")?)))?;
    let (main, _) = lines.iter().find(|(_, other)| *other == release)?;
    Some(((*main).to_owned(), (*security).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archives_are_those_of_the_machines_own_release() {
        let sources = "http://other.example/ nodistro\nhttp://mirror.example/debian/ bookworm\n\
                       http://mirror.example/debian/ bookworm-updates\n\
                       http://mirror.example/security/ bookworm-security\n";
        let (main, security) = archives(sources).unwrap();
        assert_eq!(main, "http://mirror.example/debian/");
        assert_eq!(security, "http://mirror.example/security/");
    }

    #[test]
    fn a_machine_without_debian_has_none() {
        assert!(archives("http://other.example/ nodistro\n").is_none());
    }
}
