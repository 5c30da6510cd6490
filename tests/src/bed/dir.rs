//! The folder of a bed, its owner, and how to get rid of it: everything a bed leaves in the system hangs on this folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    fs::{FlockOperation, flock},
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};

/// All beds of this machine lie here.
const BASE: &str = "/run/netpol-bed";
const OWNER: &str = "owner";
/// Files with this ending name a process that belongs to the bed.
const PROCESS: &str = "pid";
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/<pid>/stat`.
    started: u64,
}

impl Process {
    pub(super) fn current() -> Result<Self> {
        Self::of(i32::try_from(std::process::id())?)
    }

    pub(super) fn of(pid: i32) -> Result<Self> {
        let (started, _) = stat(pid).with_context(|| format!("process {pid}"))?;
        Ok(Self { pid, started })
    }

    /// Reads what [`Process::write`] wrote; `None` if there is no such file or it is not complete.
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    pub(super) fn write(self, path: &Path) -> Result<()> {
        let Self { pid, started } = self;
        fs::write(path, format!("{pid} {started}\n")).with_context(|| path.display().to_string())
    }

    fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|(started, state)| started == self.started && state != 'Z')
    }

    fn kill(self) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("pid 0")?;
        kill_process(pid, Signal::KILL).with_context(|| format!("killing {}", self.pid))?;
        let deadline = Instant::now() + KILL_TIMEOUT;
        while self.is_alive() {
            ensure!(Instant::now() < deadline, "process {} does not end", self.pid);
            thread::sleep(Duration::from_millis(5)); // there is nothing to wait on for a process that is not our child
        }
        Ok(())
    }
}

/// Start time and state of a process.
fn stat(pid: i32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

/// Makes a folder for a new bed, after getting rid of those whose owner is gone.
pub(super) fn create() -> Result<PathBuf> {
    let _lock = lock()?;
    sweep()?;
    let owner = Process::current()?;
    let mut number = 0;
    let path = loop {
        let path = Path::new(BASE).join(format!("{}-{number}", owner.pid));
        match fs::create_dir(&path) {
            Ok(()) => break path,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        }
    };
    set_owner(&path, owner)?;
    Ok(path)
}

/// Folders come and go one at a time, whichever process or thread it is: one that is half removed has no owner any more, and
/// would be removed by two.
fn lock() -> Result<File> {
    fs::create_dir_all(BASE).with_context(|| format!("{BASE} (are you root?)"))?;
    let lock =
        File::create(Path::new(BASE).join(".lock")).with_context(|| format!("{BASE} (are you root?)"))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("locking {BASE}"))?;
    Ok(lock)
}

/// Says whose life the bed's hangs on.
pub(super) fn set_owner(path: &Path, owner: Process) -> Result<()> {
    owner.write(&path.join(OWNER))
}

fn sweep() -> Result<()> {
    for entry in fs::read_dir(BASE)? {
        let path = entry?.path();
        if path.is_dir() && !Process::read(&path.join(OWNER)).is_some_and(Process::is_alive) {
            remove_locked(&path).with_context(|| format!("left over: {}", path.display()))?;
        }
    }
    Ok(())
}

/// Ends the bed's processes and removes its mounts and files. The namespaces go with their last mount, and the links,
/// addresses and programs in them go with the namespaces.
pub(super) fn remove(path: &Path) -> Result<()> {
    let _lock = lock()?;
    remove_locked(path)
}

fn remove_locked(path: &Path) -> Result<()> {
    for file in files_with_ending(path, PROCESS)? {
        if let Some(process) = Process::read(&file) {
            process.kill()?;
        }
    }
    for mount in mounts_below(path)?.iter().rev() {
        unmount(mount, UnmountFlags::DETACH).with_context(|| format!("unmounting {}", mount.display()))?;
    }
    fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))
}

fn files_with_ending(path: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == ending) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Mount points in or below `path`, in the order they were mounted.
fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|p| p.starts_with(path))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beds_come_and_go_beside_each_other() {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let path = create().unwrap();
                        fs::create_dir_all(path.join("nodes/node1")).unwrap();
                        remove(&path).unwrap();
                    }
                });
            }
        });
    }
}
