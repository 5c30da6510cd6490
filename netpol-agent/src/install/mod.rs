//! Puts the CNI plugin into the node's configuration, and takes it out again, leaving everything that is others' as it is; and the
//! agent's seccomp profile where the kubelet reads it.

mod args;
mod choose;
mod file;
mod list;
mod seccomp;
mod watch;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use args::{CniFolders, InstallCniArgs, InstallSeccompArgs};
pub use list::{Entry, List, ListError};
pub use seccomp::install_seccomp;
pub use watch::follow;

use choose::{Kind, Place};

/// Where, and what is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Install {
    /// Folder of the runtime's network configurations.
    pub conf_dir: PathBuf,
    /// Folder of the runtime's plugins.
    pub bin_dir: PathBuf,
    /// The plugin's file.
    pub plugin: PathBuf,
    /// What the plugin is told.
    pub entry: Entry,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// Written.
    Changed,
    /// Everything was as it should be.
    Nothing,
}

/// The configuration is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is nothing that the plugin could be chained to (yet).
    #[error("{}: no network configuration (*.conf, *.conflist, *.json): is the cluster's CNI plugin installed?", .0.display())]
    NoConfiguration(PathBuf),
    /// The configuration is none that the plugin can be part of.
    #[error("{}: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ListError,
    },
    /// A file system call failed.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be watched.
    #[error("{}: cannot watch the folder", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: notify::Error,
    },
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> InstallError {
    move |source| InstallError::Io { path: path.to_owned(), action, source }
}

/// Installs the plugin's file, and then the plugin into the configuration that the runtime uses: the first one by name. What is there
/// already is not written again.
///
/// # Errors
/// See [`InstallError`].
pub fn install(what: &Install) -> Result<Done, InstallError> {
    // First the file: a configuration that names a plugin which is not there lets no pod start.
    let plugin = file::copy(&what.plugin, &what.bin_dir)?;
    let place = choose::first(&what.conf_dir)?;
    let (list, path) = match place.kind {
        Kind::List => (list_of(&place.path)?, place.path.clone()),
        Kind::Single => {
            let text = read(&place.path)?;
            let list = List::around(&text).map_err(|source| wrong(&place.path, source))?;
            (list, place.as_list())
        }
    };
    let chained = list.with(&what.entry).map_err(|source| wrong(&place.path, source))?;
    let configuration = match place.kind {
        Kind::List if chained == list => Done::Nothing,
        Kind::List => file::replace(&path, &chained.to_text(), &place.path)?,
        // The list comes before its single plugin goes: until then the runtime uses that one.
        Kind::Single => {
            file::replace(&path, &chained.to_text(), &place.path)?;
            let aside = place.set_aside();
            fs::rename(&place.path, &aside).map_err(failed(&place.path, "set aside the file"))?;
            Done::Changed
        }
    };
    Ok(if plugin == Done::Changed { plugin } else { configuration })
}

/// Takes the plugin out of every configuration that has it, and removes its file.
///
/// # Errors
/// See [`InstallError`].
pub fn uninstall(conf_dir: &Path, bin_dir: &Path) -> Result<Done, InstallError> {
    let mut done = Done::Nothing;
    for Place { path, kind } in choose::all(conf_dir)? {
        if kind == Kind::Single {
            continue;
        }
        // Another plugin's list that is broken is none of ours; ours is never written so.
        let Ok(list) = list_of(&path) else { continue };
        let without = list.without();
        if without == list {
            continue;
        }
        done = Done::Changed;
        match choose::single_of(&path) {
            Some((aside, single)) => {
                fs::rename(&aside, &single).map_err(failed(&aside, "put back the file"))?;
                fs::remove_file(&path).map_err(failed(&path, "remove the file"))?;
            }
            None => drop(file::replace(&path, &without.to_text(), &path)?),
        }
    }
    let plugin = bin_dir.join(netpol_cni::TYPE);
    match fs::remove_file(&plugin) {
        Ok(()) => Ok(Done::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(done),
        Err(error) => Err(failed(&plugin, "remove the file")(error)),
    }
}

fn read(path: &Path) -> Result<String, InstallError> {
    fs::read_to_string(path).map_err(failed(path, "read the file"))
}

fn list_of(path: &Path) -> Result<List, InstallError> {
    List::parse(&read(path)?).map_err(|source| wrong(path, source))
}

fn wrong(path: &Path, source: ListError) -> InstallError {
    InstallError::List { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
