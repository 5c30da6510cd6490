//! The pin directory: where maps and links outlive the agent, one folder per version of the maps.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use netpol_common::version::ABI_VERSION;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open, statfs},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS: i64 = 0xcafe_4a11;

/// The pin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A file system call failed.
    #[error("{path}: cannot {call}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Two agents would write the same maps.
    #[error("{path}: another agent is running with this pin directory")]
    InUse {
        /// The folder that is locked.
        path: PathBuf,
    },
}

/// The folder of this version's pins, held by this process alone.
pub(super) struct Pins {
    dir: PathBuf,
    _lock: DirLock,
}

/// A folder that this process has locked; the kernel lets go when the process dies, however it dies.
struct DirLock(OwnedFd);

impl Drop for DirLock {
    /// Closing it would not do: a child that another thread has forked and that has not come to its exec(2) yet has the
    /// descriptor too, and with it the lock (flock(2)).
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "cannot unlock the pins");
        }
    }
}

impl Pins {
    /// Makes `<root>/v<ABI>/links`, mounting a BPF file system at `root` if it is not on one. Folders of other versions are
    /// left alone.
    pub(super) fn open(root: &Path) -> Result<Self, PinError> {
        let made = |path: &Path| {
            fs::create_dir_all(path).map_err(|source| failed(path, "create the directory", source))
        };
        // The usual place cannot be made by hand: it is a part of sysfs until a BPF file system covers it.
        let mount_point = if root.starts_with(USUAL) { Path::new(USUAL) } else { root };
        made(mount_point)?;
        if !on_bpf_fs(mount_point)? {
            mount(
                "bpf",
                mount_point,
                "bpf",
                MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
                Some(c"mode=0700"),
            )
            .map_err(|errno| failed(mount_point, "mount a BPF file system", errno.into()))?;
        }
        let dir = version_dir(root);
        made(&dir.join(LINKS))?;
        let lock = lock(&dir)?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where maps are pinned.
    pub(super) fn maps(&self) -> &Path {
        &self.dir
    }

    /// Where links are pinned.
    pub(super) fn links(&self) -> PathBuf {
        self.dir.join(LINKS)
    }

    /// Where the links of cgroups are pinned; the folder may not be there yet.
    pub(super) fn sockets(&self) -> PathBuf {
        self.dir.join(SOCKETS)
    }
}

const LINKS: &str = "links";
const SOCKETS: &str = "sockets";
/// Where systems mount their BPF file system.
const USUAL: &str = "/sys/fs/bpf";

fn version_dir(root: &Path) -> PathBuf {
    root.join(format!("v{ABI_VERSION}"))
}

fn lock(dir: &Path) -> Result<DirLock, PinError> {
    let lock = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(dir, "open the directory", errno.into()))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirLock(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(PinError::InUse { path: dir.into() }),
        Err(errno) => Err(failed(dir, "lock the directory", errno.into())),
    }
}

fn on_bpf_fs(path: &Path) -> Result<bool, PinError> {
    let info = statfs(path).map_err(|errno| failed(path, "ask for the file system", errno.into()))?;
    Ok(info.f_type as i64 == BPF_FS)
}

fn failed(path: &Path, call: &'static str, source: io::Error) -> PinError {
    PinError::Io { path: path.into(), call, source }
}

/// Removes every version's pins, so that links detach and maps are freed, and the BPF file system if one was mounted for them.
///
/// # Errors
///
/// If an agent is running with this directory, or something in it cannot be removed.
pub(super) fn remove_all(root: &Path) -> Result<(), PinError> {
    if !root.exists() {
        return Ok(());
    }
    if on_bpf_fs(root)? {
        for entry in fs::read_dir(root).map_err(|source| failed(root, "list the directory", source))? {
            let path = entry.map_err(|source| failed(root, "list the directory", source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok()) {
                let held = lock(&path)?;
                fs::remove_dir_all(&path).map_err(|source| failed(&path, "remove the directory", source))?;
                drop(held);
            }
        }
        match unmount(root, UnmountFlags::empty()) {
            // EINVAL: the directory lies on a BPF file system that somebody else mounted further up.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(failed(root, "unmount the BPF file system", errno.into())),
        }
    }
    match fs::remove_dir(root) {
        Ok(()) => Ok(()),
        // Something that is not ours lies there.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) => Err(failed(root, "remove the directory", error)),
    }
}
