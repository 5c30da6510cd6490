//! A cgroup for this process and those that it starts: agents attach programs to it, and to no other.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

const PREFIX: &str = "netpol-bed-";
const MEMBERS: &str = "cgroup.procs";

/// Where this process is while it has beds.
static PLACE: Mutex<Option<Place>> = Mutex::new(None);

struct Place {
    path: PathBuf,
    home: PathBuf,
    beds: usize,
}

/// A bed's share of this process's cgroup. With the last one the process is back where it came from.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Moves this process into a cgroup of its own below the one that it is in. `None` if there are no cgroups of version 2.
    pub(super) fn enter() -> Result<Option<Self>> {
        let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = place.as_mut() {
            place.beds += 1;
            return Ok(Some(Self { path: place.path.clone() }));
        }
        let Some(home) = current()? else { return Ok(None) };
        sweep(&home)?;
        let path = home.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        join(&path)?;
        *place = Some(Place { path: path.clone(), home, beds: 1 });
        Ok(Some(Self { path }))
    }

    /// Its folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(there) = place.as_mut() else { return };
        there.beds -= 1;
        if there.beds > 0 {
            return;
        }
        let left = join(&there.home).and_then(|()| remove(&there.path));
        if let Err(e) = left {
            eprintln!("leaving {}: {e:#}", there.path.display());
        }
        *place = None;
    }
}

/// The folder of the cgroup that this process is in.
fn current() -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        (what.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
    });
    let Some(mount) = mount else { return Ok(None) };
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).context("this process has no cgroup")?;
    let path = mount.join(own);
    ensure!(path.join(MEMBERS).is_file(), "{} is no cgroup", path.display());
    Ok(Some(path))
}

fn join(path: &Path) -> Result<()> {
    let members = path.join(MEMBERS);
    fs::write(&members, std::process::id().to_string()).with_context(|| members.display().to_string())
}

/// Removes those that processes left behind which were killed.
fn sweep(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home).with_context(|| home.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        // One that is alive may be about to move in.
        if !Path::new("/proc").join(owner).exists() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// One that somebody is in stays: another test's, or that of a bed that was kept.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => {
            Err(e).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}
