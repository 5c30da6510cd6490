//! The pin directory: where maps and links outlive the agent, one folder per version of the maps.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use netpol_common::{names, version::ABI_VERSION};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open, statfs},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{
    Sizes,
    aside::{ASIDE, Aside, PutAside},
    links,
    only::Only,
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
    /// Two agents would put their programs on the same interfaces.
    #[error("another agent{} serves this node already: end it first, or run this one in a network namespace of its own", process(*pid))]
    Second {
        /// The process, as this one sees it; 0 if it does not.
        pid: i32,
    },
}

fn process(pid: i32) -> String {
    if pid > 0 { format!(" (process {pid})") } else { String::new() }
}

/// The folder of this version's pins, held by this process alone.
pub(super) struct Pins {
    root: PathBuf,
    dir: PathBuf,
    aside: Aside,
    _locks: [DirLock; 2],
    _only: Only,
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
    /// Makes `<root>/v<ABI>` and the folders in it, mounting a BPF file system at `root` if it is not on one. Folders of other versions are
    /// left alone.
    pub(super) fn open(root: &Path) -> Result<Self, PinError> {
        let only = Only::claim()?;
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
        made(root)?;
        let whole = lock(root)?;
        // Agents that knew of no lock but their version's.
        for other in versions(root)? {
            drop(lock(&other)?);
        }
        let mut aside = Aside::new(root);
        let dir = version_dir(root);
        for folder in [&dir, &dir.join(LINKS), &dir.join(LAYOUTS)] {
            if fs::symlink_metadata(folder).is_ok_and(|entry| !entry.is_dir()) {
                aside.put(folder, "is no folder".to_owned())?;
            }
            made(folder)?;
        }
        let version = lock(&dir)?;
        Ok(Self { root: root.into(), dir, aside, _locks: [whole, version], _only: only })
    }

    /// Puts aside what cannot be used of what an agent before left. What enforces goes on.
    pub(super) fn put_aside(&mut self, sizes: &Sizes) -> Result<(), PinError> {
        self.aside.maps(&self.dir, sizes)?;
        self.aside.links(&self.links(), links::is_name)?;
        self.aside.links(&self.sockets(), |name| names::SOCKET_PROGRAMS.contains(&name))?;
        self.aside.links(&self.dir.join(XDP), |name| name.contains(names::FROM_WIRE))
    }

    /// Puts all maps aside.
    pub(super) fn put_all_aside(&mut self, why: &str) -> Result<(), PinError> {
        self.aside.all_maps(&self.dir, why)
    }

    /// What was put aside since this was opened.
    pub(super) fn found(&self) -> &[PutAside] {
        self.aside.found()
    }

    /// The folders of other versions. Their programs are at work until this one's take their place.
    pub(super) fn other_versions(&self) -> Result<Vec<PathBuf>, PinError> {
        Ok(versions(&self.root)?.into_iter().filter(|folder| *folder != self.dir).collect())
    }

    /// Removes the folders of other versions: their programs come off.
    pub(super) fn remove_other_versions(&self) -> Result<(), PinError> {
        for path in self.other_versions()? {
            fs::remove_dir_all(&path).map_err(|source| failed(&path, "remove the directory", source))?;
            tracing::info!(path = %path.display(), "programs and maps of another version are removed");
        }
        Ok(())
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

pub(super) const LINKS: &str = "links";
/// What layout the tables have.
pub(super) const LAYOUTS: &str = "layouts";
pub(super) const SOCKETS: &str = "sockets";
pub(super) const XDP: &str = "xdp";
/// Where systems mount their BPF file system.
const USUAL: &str = "/sys/fs/bpf";

fn version_dir(root: &Path) -> PathBuf {
    root.join(format!("v{}", version()))
}

#[cfg(not(feature = "fault-points"))]
const fn version() -> u32 {
    ABI_VERSION
}

/// Tests have two versions of one build.
#[cfg(feature = "fault-points")]
fn version() -> u32 {
    std::env::var("NETPOL_ABI_VERSION").ok().and_then(|version| version.parse().ok()).unwrap_or(ABI_VERSION)
}

/// The folders of pins below `root`, this version's first; none where nothing can be listed.
pub(super) fn folders(root: &Path) -> Vec<PathBuf> {
    let own = version_dir(root);
    let others = versions(root).unwrap_or_default().into_iter().filter(|folder| *folder != own);
    [own.clone()].into_iter().chain(others).collect()
}

/// The folders of all versions.
fn versions(root: &Path) -> Result<Vec<PathBuf>, PinError> {
    let failed = |source| failed(root, "list the directory", source);
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_version = name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok());
        if is_version && path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
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

pub(super) fn failed(path: &Path, call: &'static str, source: io::Error) -> PinError {
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
        // No agent starts meanwhile.
        let whole = lock(root)?;
        for path in versions(root)? {
            let held = lock(&path)?;
            fs::remove_dir_all(&path).map_err(|source| failed(&path, "remove the directory", source))?;
            drop(held);
        }
        let aside = root.join(ASIDE);
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&aside, "remove the directory", error));
            }
            _ => {}
        }
        // What is open keeps the file system from being unmounted.
        drop(whole);
        match unmount(root, UnmountFlags::empty()) {
            // EINVAL: the directory lies on a BPF file system that somebody else mounted further up. EPERM: who may not unmount has not
            // mounted it; if it is a mount point all the same, it cannot be removed below.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
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
