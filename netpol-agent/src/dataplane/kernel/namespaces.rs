//! The pods' network namespaces: files in a folder, and the numbers that the node's namespace has for them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    nsid::{NsidAttribute, NsidMessage},
};

use super::netlink::{Netlink, NetlinkError};

/// The namespaces' folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
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
    /// The kernel was asked for a namespace's number and failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Names by number, as of the last scan.
pub(super) struct Namespaces {
    dir: PathBuf,
    /// Device and inode of the node's own namespace, which is no pod's even if the folder holds it.
    own: (u64, u64),
    by_nsid: BTreeMap<i32, String>,
    unfinished: bool,
}

impl Namespaces {
    pub(super) fn open(dir: &Path) -> Result<Self, NamespaceError> {
        fs::create_dir_all(dir).map_err(failed(dir, "create the directory"))?;
        let own = Path::new("/proc/thread-self/ns/net");
        let own = fs::metadata(own).map_err(failed(own, "read"))?;
        Ok(Self { dir: dir.into(), own: (own.dev(), own.ino()), by_nsid: BTreeMap::new(), unfinished: false })
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file name of the namespace with this number.
    pub(super) fn name(&self, nsid: i32) -> Option<&str> {
        self.by_nsid.get(&nsid).map(String::as_str)
    }

    /// Number and file name of each.
    pub(super) fn all(&self) -> impl Iterator<Item = (i32, &str)> {
        self.by_nsid.iter().map(|(nsid, name)| (*nsid, name.as_str()))
    }

    /// Whether the last scan met a file that no namespace is mounted on (yet).
    pub(super) fn unfinished(&self) -> bool {
        self.unfinished
    }

    /// Asks for the number of every namespace in the folder. One without has no interface that leads here (yet), and gets one: without it
    /// nothing is heard of what else it has.
    pub(super) fn scan(&mut self, netlink: &mut Netlink) -> Result<(), NamespaceError> {
        let list = |source| failed(&self.dir, "list the directory")(source);
        let mut paths = fs::read_dir(&self.dir)
            .map_err(list)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(list)?;
        // Of two names for one namespace the first counts.
        paths.sort_unstable();
        let mut by_nsid = BTreeMap::new();
        self.unfinished = false;
        for path in paths {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // Non-blocking: somebody may have put a pipe there.
            let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "not a network namespace");
                    self.unfinished = true;
                    continue;
                }
            };
            let metadata = file.metadata().map_err(failed(&path, "read"))?;
            if (metadata.dev(), metadata.ino()) == self.own {
                continue;
            }
            match numbered(netlink, &file) {
                Ok(Some(nsid)) => {
                    by_nsid.entry(nsid).or_insert_with(|| name.to_owned());
                }
                Ok(None) => {}
                Err(error) if error.is(libc::EINVAL) => self.unfinished = true,
                Err(error) => return Err(error.into()),
            }
        }
        self.by_nsid = by_nsid;
        Ok(())
    }
}

/// The number of a namespace, after it was given one if need be. `EINVAL`: the file is no network namespace.
fn numbered(netlink: &mut Netlink, file: &File) -> Result<Option<i32>, NetlinkError> {
    if let Some(nsid) = number(netlink, file)? {
        return Ok(Some(nsid));
    }
    let mut request = NsidMessage::default();
    request.attributes.push(NsidAttribute::Fd(file.as_raw_fd().cast_unsigned()));
    // Any that is free (rtnl_net_newid() of net/core/net_namespace.c).
    request.attributes.push(NsidAttribute::Id(-1));
    match netlink.change("give a namespace a number", Message::NewNsId(request), 0) {
        // A veth has come meanwhile, and brought one along.
        Err(error) if !error.is(libc::EEXIST) => Err(error),
        _ => number(netlink, file),
    }
}

/// `EINVAL`: the file is no network namespace.
fn number(netlink: &mut Netlink, file: &File) -> Result<Option<i32>, NetlinkError> {
    let mut request = NsidMessage::default();
    request.attributes.push(NsidAttribute::Fd(file.as_raw_fd().cast_unsigned()));
    let answers = netlink.ask("ask for a namespace's number", Message::GetNsId(request))?;
    Ok(answers
        .iter()
        .find_map(|answer| match answer {
            Message::NewNsId(message) => message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(nsid) => Some(*nsid),
                _ => None,
            }),
            _ => None,
        })
        .filter(|nsid| *nsid >= 0))
}

fn failed(path: &Path, call: &'static str) -> impl FnOnce(io::Error) -> NamespaceError {
    move |source| NamespaceError::Io { path: path.into(), call, source }
}
