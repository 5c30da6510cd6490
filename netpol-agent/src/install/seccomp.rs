use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{Done, InstallError, failed, file::put};

/// The system calls that this very program makes, in the form of the OCI runtime specification.
const PROFILE: &str = include_str!("../../../deploy/seccomp/netpol-agent.json");
const FILE: &str = "agent.json";

/// Writes the profile to `agent.json` in `dir`, unless it is there.
///
/// # Errors
/// If the folder cannot be made, or the file cannot be written.
pub fn install_seccomp(dir: &Path) -> Result<Done, InstallError> {
    let target = dir.join(FILE);
    if fs::read(&target).is_ok_and(|there| there == PROFILE.as_bytes()) {
        return Ok(Done::Nothing);
    }
    fs::create_dir_all(dir).map_err(failed(dir, "make the folder"))?;
    put(&target, PROFILE.as_bytes(), |file: &File| file.set_permissions(PermissionsExt::from_mode(0o644)))?;
    Ok(Done::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_written_once_and_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("seccomp/netpol");
        assert_eq!(install_seccomp(&dir).unwrap(), Done::Changed);
        assert_eq!(install_seccomp(&dir).unwrap(), Done::Nothing);
        fs::write(dir.join(FILE), "of another version").unwrap();
        assert_eq!(install_seccomp(&dir).unwrap(), Done::Changed);
        let profile: serde_json::Value = serde_json::from_slice(&fs::read(dir.join(FILE)).unwrap()).unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
