//! Real programs in a pod's network, with the pod's own `resolv.conf`.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::bed::Netns;

/// A program that serves until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it says goes into a file. Whether it serves already is to be asked at its port.
    ///
    /// # Errors
    /// If there is no such program, or the file cannot be made.
    pub(super) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = command.stdout(Stdio::null()).stderr(file).spawn();
        Ok(Self { child: child.with_context(|| format!("{command:?}"))?, log })
    }

    /// Fails once it has ended by itself.
    ///
    /// # Errors
    /// With its exit status, and what it said.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
            bail!("a server has ended with {status}: {said}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(e) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ending a server: {e}");
        }
    }
}

/// Has `program` run in a network, where `/etc/resolv.conf` is the given file. It ends with the calling thread at the latest.
#[must_use]
pub(super) fn within(netns: &Netns, resolv_conf: &Path, program: impl AsRef<OsStr>) -> Command {
    // The mount is seen by the program alone; `unshare` takes it out of the machine's mount propagation.
    const INSIDE: &str = r#"mount --bind "$0" /etc/resolv.conf && exec setpriv --pdeathsig KILL "$@""#;
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", netns.path().display()))
        .args(["unshare", "--mount", "sh", "-c", INSIDE])
        .arg(resolv_conf)
        .arg(program);
    command
}

/// A program that is installed, or that `cargo xtask setup` has unpacked under cargo's target folder.
///
/// # Errors
/// Where it is not.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    // Programs lie in `target/debug`, tests in `deps` below it.
    places.extend(env::current_exe()?.ancestors().skip(1).map(|folder| folder.join("servers/usr/sbin")));
    let found = places.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("no program {name}: `cargo xtask setup` gets it"))
}

/// What a kubelet would write for a pod of the namespace.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_resolv_conf(file: &Path, namespace: &str, server: &str, by_tcp: bool) -> Result<()> {
    let search = format!("{namespace}.svc.cluster.local svc.cluster.local cluster.local");
    let tcp = if by_tcp { " use-vc" } else { "" };
    let text = format!("nameserver {server}\nsearch {search}\noptions ndots:5 timeout:1 attempts:1{tcp}\n");
    fs::write(file, text).with_context(|| file.display().to_string())
}
