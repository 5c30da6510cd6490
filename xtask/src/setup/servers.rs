//! nginx for pods of the test bed: unpacked under `target/`, not installed, because Debian's package would start it on the
//! machine itself.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Apt, unpack_packages};
use crate::{command, paths::Paths, progress::Progress};

const NGINX: &str = "nginx";

/// Has nginx in the system or under `target/servers`.
///
/// # Errors
/// If it cannot be had, or does not run as it is unpacked.
pub(super) fn ensure(paths: &Paths, apt: &Apt) -> Result<()> {
    let folder = paths.target.join("servers");
    let program = folder.join("usr/sbin").join(NGINX);
    if command::find_program(NGINX).is_some() || program.is_file() {
        return Ok(());
    }
    Progress::new("setup: servers", 1).step("downloading and unpacking nginx (0.5 MB)", || {
        apt.require()?;
        apt.update(paths);
        let (downloads, unfinished) = (folder.join("packages"), folder.join("unfinished"));
        apt.download(&[NGINX.to_owned()], &downloads)?;
        command::remove_folder(&unfinished)?;
        unpack_packages(&downloads, &unfinished)?;
        command::output(Command::new(unfinished.join("usr/sbin").join(NGINX)).arg("-v"))
            .context("nginx does not run as it is unpacked: `apt-get install nginx` gets the libraries")?;
        // At last: a program that lies in its place is whole.
        command::remove_folder(&folder.join("usr"))?;
        std::fs::rename(unfinished.join("usr"), folder.join("usr"))
            .with_context(|| format!("cannot move into {}", folder.display()))?;
        command::remove_folder(&unfinished)?;
        command::remove_folder(&downloads)
    })
}
