//! One kernel, unpacked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{mirror::Mirror, series::Series};
use crate::progress::Progress;

/// What QEMU boots, and the modules that fit it.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says.
    pub(super) release: String,
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// The folder named after the release.
    pub(super) modules: PathBuf,
}

/// The unpacked kernel of a series; the newest there is, if none is unpacked yet or `refresh` says so.
///
/// # Errors
/// If Debian has none, or apt fails.
pub(super) fn ensure(mirror: &Mirror, folder: &Path, series: &Series, refresh: bool) -> Result<Kernel> {
    let place = folder.join("kernels").join(series.name);
    if !refresh && let Ok(kernel) = inspect(&place) {
        return Ok(kernel);
    }
    Progress::new("vm: kernel", 1).step(
        &format!("{}: asking apt, downloading, unpacking", series.name),
        || {
            let names = mirror.search(series.suite, "^linux-(image|binary)-[0-9]")?;
            let (_, packages) = series
                .newest(names.iter().map(String::as_str))
                .context("the archive has no such kernel any more")?;
            mirror.unpack(series.suite, &packages, &place)?;
            inspect(&place)
        },
    )
}

/// Finds the parts where one of Debian's layouts has them: `/boot` and `/lib`, or all of it under `/usr/lib`.
fn inspect(place: &Path) -> Result<Kernel> {
    let folders = ["usr/lib/modules", "lib/modules"].map(|path| place.join(path));
    let modules = folders
        .iter()
        .find_map(|folder| fs::read_dir(folder).ok()?.next()?.ok())
        .with_context(|| format!("no modules under {}", place.display()))?
        .path();
    let release = modules.file_name().context("a nameless folder")?.to_string_lossy().into_owned();
    let images = [place.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = images
        .into_iter()
        .find(|image| image.is_file())
        .with_context(|| format!("no kernel under {}", place.display()))?;
    Ok(Kernel { release, image, modules })
}
