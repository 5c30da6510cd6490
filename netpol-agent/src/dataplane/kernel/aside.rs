//! Pins that are not what they should be: put aside under `<pin-dir>/aside`, so that what is missing can be made anew and somebody
//! can look. Nothing that is attached comes off by it.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use netpol_common::names;

use super::{
    PinError, Sizes,
    bpf::{self, Pinned},
    layout,
    object::pin_path,
    pins::failed,
};

/// Below the pin directory.
pub(super) const ASIDE: &str = "aside";

/// A pin that was not what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutAside {
    /// Where it was.
    pub path: PathBuf,
    /// Where it is now; nowhere if it was missing.
    pub to: Option<PathBuf>,
    /// What was wrong with it.
    pub why: String,
}

/// Where pins are put, and which have been.
pub(super) struct Aside {
    root: PathBuf,
    found: Vec<PutAside>,
}

/// What has to go with a map that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    /// Nothing: each of its rows can be lost by itself.
    Alone,
    /// The connection tables and what counts them. Connections that are under way are judged anew.
    Connections,
    /// Everything: rows name rows of other maps, and the epoch of a new `np_config` would have been another's before.
    Everything,
}

fn loss(name: &str) -> Loss {
    match name {
        names::CT4 | names::CT6 | names::QUOTA => Loss::Connections,
        names::FRAG4
        | names::FRAG6
        | names::AFF4
        | names::AFF6
        | names::SOCK
        | names::STATS
        | names::MARK
        | names::DROP
        | names::FLOW => Loss::Alone,
        _ => Loss::Everything,
    }
}

impl Aside {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into(), found: Vec::new() }
    }

    /// What was put aside.
    pub(super) fn found(&self) -> &[PutAside] {
        &self.found
    }

    /// Puts aside what cannot be used of the maps under `dir`, with what has to go with it.
    pub(super) fn maps(&mut self, dir: &Path, sizes: &Sizes) -> Result<(), PinError> {
        let faults = layout::faults(dir, sizes);
        let Some(worst) = faults.iter().map(|(name, _)| loss(name)).max_by_key(|loss| *loss as u8) else {
            return Ok(());
        };
        for (name, fault) in &faults {
            self.put(&pin_path(dir, name), fault.to_string())?;
        }
        let first = faults.first().map_or("", |(name, _)| *name);
        for name in names::PINNED {
            let goes = loss(name) as u8 <= worst as u8 && loss(name) != Loss::Alone;
            if goes && worst != Loss::Alone && !faults.iter().any(|(faulty, _)| *faulty == name) {
                self.put(&pin_path(dir, name), format!("goes with {first}"))?;
            }
        }
        Ok(())
    }

    /// Puts all maps under `dir` aside.
    pub(super) fn all_maps(&mut self, dir: &Path, why: &str) -> Result<(), PinError> {
        names::PINNED.into_iter().try_for_each(|name| self.put(&pin_path(dir, name), why.to_owned()))
    }

    /// Puts aside what is no link of ours in a folder of links. A link of an interface that is gone is one.
    pub(super) fn links(&mut self, dir: &Path, is_name: impl Fn(&str) -> bool) -> Result<(), PinError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if !dir.is_dir() => return self.put(dir, "is no folder".to_owned()),
            Err(error) => return Err(failed(dir, "list the directory", error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| failed(dir, "list the directory", error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let why = match kind(&path) {
                _ if !is_name(name) => "has a name that no link of netpol has".to_owned(),
                Ok(Pinned::Link) => continue,
                Ok(other) => format!("is {}, not a link", other.words()),
                Err(error) => format!("cannot be opened: {error}"),
            };
            self.put(&path, why)?;
        }
        Ok(())
    }

    /// Puts one pin aside. What was put aside by an agent before goes first: it may hold much memory.
    pub(super) fn put(&mut self, path: &Path, why: String) -> Result<(), PinError> {
        if fs::symlink_metadata(path).is_err() {
            tracing::warn!(path = %path.display(), why, "a pin is missing, and made anew");
            self.found.push(PutAside { path: path.into(), to: None, why });
            return Ok(());
        }
        let aside = self.root.join(ASIDE);
        if self.found.iter().all(|found| found.to.is_none()) {
            match fs::remove_dir_all(&aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&aside, "remove the directory", error));
                }
                _ => {}
            }
            fs::create_dir_all(&aside).map_err(|error| failed(&aside, "create the directory", error))?;
        }
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('/', "-");
        let to = aside.join(name);
        fs::rename(path, &to).map_err(|error| failed(path, "put it aside", error))?;
        tracing::warn!(path = %path.display(), to = %to.display(), why, "a pin is put aside, and made anew");
        self.found.push(PutAside { path: path.into(), to: Some(to), why });
        Ok(())
    }
}

/// What is pinned there.
fn kind(path: &Path) -> io::Result<Pinned> {
    bpf::pinned_kind(bpf::open_pin(path)?.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_rows_of_others_or_dates_them_takes_everything_along() {
        for name in [names::CONFIG, names::EP, names::POLICY, names::SVC, names::BE4, names::NO_POD] {
            assert_eq!(loss(name), Loss::Everything, "{name}");
        }
        assert_eq!(loss(names::CT6), Loss::Connections);
        for name in [names::STATS, names::MARK] {
            assert_eq!(loss(name), Loss::Alone, "{name}");
        }
    }
}
