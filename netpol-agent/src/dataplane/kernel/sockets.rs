//! Services for the node's own processes: programs on a cgroup, attached so that they outlive the agent, found again after a
//! restart and replaced in place.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use netpol_common::names;

use super::{
    LoadError, Object,
    bpf::{self, CgroupAttach},
    cgroup, node_netns,
};

/// Whether the node's own processes reach Services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeServices {
    /// Where the kernel can do it: processes in this cgroup (`None`: all of them).
    Auto(Option<PathBuf>),
    /// No.
    Off,
}

/// What became of [`NodeServices`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeServicesState {
    /// Processes of the node in this cgroup reach Services.
    On(PathBuf),
    /// They do not: why.
    Off(String),
}

impl fmt::Display for NodeServicesState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(cgroup) => write!(f, "on, cgroup {}", cgroup.display()),
            Self::Off(why) => write!(f, "off: {why}"),
        }
    }
}

/// The node's processes cannot be given Services.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketsError {
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    #[error(transparent)]
    Netns(#[from] node_netns::NetnsError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{path}: cannot {call}")]
    Io {
        path: PathBuf,
        call: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Has this agent's programs on the cgroup. Whatever goes wrong is no reason to end: policy does not depend on it. What an
/// agent before attached works on then.
pub(super) fn open(object: &mut Object, dir: &Path, wanted: &NodeServices) -> NodeServicesState {
    let result = match wanted {
        NodeServices::Off => {
            remove(dir).map(|()| NodeServicesState::Off("by --node-services=off".to_owned()))
        }
        NodeServices::Auto(cgroup) => attach(object, dir, cgroup.as_deref()).map(NodeServicesState::On),
    };
    result.unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "processes of the node itself do not reach Services"
        );
        NodeServicesState::Off(with_causes(&error))
    })
}

fn attach(object: &mut Object, dir: &Path, cgroup: Option<&Path>) -> Result<PathBuf, SocketsError> {
    let path = cgroup.map_or_else(cgroup::whole, |path| Ok(path.to_owned()))?;
    let failed = |call| {
        let path = path.clone();
        move |source| SocketsError::Io { path, call, source }
    };
    let folder = File::open(&path).map_err(failed("open the cgroup"))?;
    // A cgroup's number is that of its folder.
    let id = folder.metadata().map_err(failed("ask for the cgroup"))?.ino();
    node_netns::current()?;
    object.load_socket_programs()?;
    fs::create_dir_all(dir).map_err(|source| SocketsError::Io {
        path: dir.into(),
        call: "create the directory",
        source,
    })?;
    for (name, attach) in names::SOCKET_PROGRAMS.into_iter().zip(CgroupAttach::ALL) {
        let program = program(object, name).map_err(failed("duplicate a program"))?;
        let pin = dir.join(name);
        if !replaced(&pin, program.as_fd(), id, attach)? {
            let link = bpf::link_create_cgroup(program.as_fd(), folder.as_fd(), attach)
                .map_err(failed("attach a program to the cgroup"))?;
            // Of another cgroup, or one that is gone. After: no socket is without a program in between.
            unlink(&pin)?;
            bpf::pin(link.as_fd(), &pin).map_err(|source| SocketsError::Io {
                path: pin,
                call: "pin the link",
                source,
            })?;
        }
    }
    Ok(path)
}

/// Whether the link that is pinned there is attached to the cgroup; its program is this one then.
fn replaced(
    pin: &Path,
    program: BorrowedFd<'_>,
    cgroup: u64,
    attach: CgroupAttach,
) -> Result<bool, SocketsError> {
    let failed = |call| move |source| SocketsError::Io { path: pin.into(), call, source };
    let link = match bpf::open_pin(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open the link")(error)),
    };
    if bpf::cgroup_link(link.as_fd()).map_err(failed("ask for the link"))? != Some((cgroup, attach as u32)) {
        return Ok(false);
    }
    match bpf::link_update(link.as_fd(), program) {
        Ok(()) => Ok(true),
        // The cgroup went away just now.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(failed("replace the program of the link")(error)),
    }
}

fn program(object: &mut Object, name: &str) -> io::Result<OwnedFd> {
    let program = object.socket_program(name).map_err(io::Error::other)?;
    program.fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
}

fn remove(dir: &Path) -> Result<(), SocketsError> {
    names::SOCKET_PROGRAMS.into_iter().try_for_each(|name| unlink(&dir.join(name)))
}

fn unlink(pin: &Path) -> Result<(), SocketsError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SocketsError::Io { path: pin.into(), call: "remove the link", source: error })
        }
        _ => Ok(()),
    }
}

fn with_causes(error: &SocketsError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
