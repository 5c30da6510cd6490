use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{InstallError, failed};

/// What single plugins that were made lists of are called meanwhile: no runtime reads it.
const ASIDE: &str = "before-netpol";

/// A configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Of several plugins.
    List,
    /// Of one.
    Single,
}

impl Place {
    /// `None` for a file that no runtime reads (`ConfFiles` and `ConfListFromFile` of libcni, as containerd and CRI-O call them).
    fn of(path: PathBuf) -> Option<Self> {
        let kind = match path.extension()?.to_str()? {
            "conflist" => Kind::List,
            "conf" | "json" => Kind::Single,
            _ => return None,
        };
        path.is_file().then_some(Self { path, kind })
    }

    /// The name of the list that takes the place of a single plugin.
    pub(super) fn as_list(&self) -> PathBuf {
        self.path.with_extension("conflist")
    }

    /// The name of the single plugin while a list has its place.
    pub(super) fn set_aside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ASIDE);
        name.into()
    }
}

/// All of them, in the order in which runtimes look at them.
pub(super) fn all(dir: &Path) -> Result<Vec<Place>, InstallError> {
    let entries = fs::read_dir(dir).map_err(failed(dir, "list the folder"))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(failed(dir, "list the folder"))?;
    paths.sort_unstable();
    Ok(paths.into_iter().filter_map(Place::of).collect())
}

/// The one that runtimes use.
pub(super) fn first(dir: &Path) -> Result<Place, InstallError> {
    all(dir)?.into_iter().next().ok_or_else(|| InstallError::NoConfiguration(dir.to_owned()))
}

/// The single plugin that a list has the place of: its name now, and its own.
pub(super) fn single_of(list: &Path) -> Option<(PathBuf, PathBuf)> {
    ["conf", "json"].iter().find_map(|extension| {
        let single = Place { path: list.with_extension(extension), kind: Kind::Single };
        let aside = single.set_aside();
        aside.is_file().then_some((aside, single.path))
    })
}
