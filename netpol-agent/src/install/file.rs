//! Files that are there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Gid, Uid, fchown};

use super::{Done, InstallError, failed};

/// Copies the plugin, unless the same one is there.
pub(super) fn copy(plugin: &Path, bin_dir: &Path) -> Result<Done, InstallError> {
    let bytes = fs::read(plugin).map_err(failed(plugin, "read the plugin"))?;
    let target = bin_dir.join(netpol_cni::TYPE);
    if fs::read(&target).is_ok_and(|there| there == bytes) {
        return Ok(Done::Nothing);
    }
    fs::create_dir_all(bin_dir).map_err(failed(bin_dir, "make the folder"))?;
    put(&target, &bytes, |file| file.set_permissions(PermissionsExt::from_mode(0o755)))?;
    Ok(Done::Changed)
}

/// Writes a configuration, with the mode and owner of `like`.
pub(super) fn replace(path: &Path, text: &str, like: &Path) -> Result<Done, InstallError> {
    // Where it is a link, the file that it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_new| path.to_owned());
    let old = fs::metadata(like).map_err(failed(like, "read the file's mode"))?;
    put(&path, text.as_bytes(), |file| {
        file.set_permissions(old.permissions())?;
        Ok(fchown(file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?)
    })?;
    Ok(Done::Changed)
}

/// Written beside, and renamed: whoever reads meanwhile reads the old one or the new one.
pub(super) fn put(
    path: &Path,
    bytes: &[u8],
    dress: impl Fn(&File) -> io::Result<()>,
) -> Result<(), InstallError> {
    let beside = beside(path);
    let write = || {
        let mut file = File::create(&beside)?;
        dress(&file)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(failed(path, "write the file"))
}

/// A name that no runtime takes for a configuration or a plugin.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.netpol-new"))
}
