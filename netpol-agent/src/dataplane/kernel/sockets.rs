//! Services for the node's own processes: programs on a cgroup, attached so that they outlive the agent, found again after a
//! restart and replaced in place.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use netpol_common::names;

use super::{
    LoadError, Object, PinError,
    bpf::{self, CgroupAttach},
    cgroup, node_netns,
    pins::failed,
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
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Has this agent's programs on the cgroup, but for those in whose places another version's are at work: these wait for
/// [`Sockets::let_in`]. Whatever goes wrong is no reason to end: policy does not depend on it. What an agent before attached works on
/// then.
pub(super) fn open(
    object: &mut Object,
    dir: PathBuf,
    others: Vec<PathBuf>,
    wanted: &NodeServices,
) -> (NodeServicesState, Option<Sockets>) {
    let result = match wanted {
        NodeServices::Off => remove(&dir).map(|()| None).map_err(SocketsError::from),
        NodeServices::Auto(cgroup) => Sockets::open(object, dir, others, cgroup.as_deref()).map(Some),
    };
    match result {
        Ok(Some(sockets)) => (NodeServicesState::On(sockets.path.clone()), Some(sockets)),
        Ok(None) => (NodeServicesState::Off("by --node-services=off".to_owned()), None),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "processes of the node itself do not reach Services"
            );
            (NodeServicesState::Off(with_causes(&error)), None)
        }
    }
}

/// The programs, and the cgroup that they are for.
pub(super) struct Sockets {
    dir: PathBuf,
    /// Where other versions' links are pinned.
    others: Vec<PathBuf>,
    path: PathBuf,
    cgroup: File,
    /// A cgroup's number is that of its folder.
    id: u64,
    programs: Vec<Program>,
}

struct Program {
    name: &'static str,
    attach: CgroupAttach,
    fd: OwnedFd,
}

impl Sockets {
    fn open(
        object: &mut Object,
        dir: PathBuf,
        others: Vec<PathBuf>,
        cgroup: Option<&Path>,
    ) -> Result<Self, SocketsError> {
        let path = cgroup.map_or_else(cgroup::whole, |path| Ok(path.to_owned()))?;
        let cgroup = File::open(&path).map_err(|source| failed(&path, "open the cgroup", source))?;
        let id = cgroup.metadata().map_err(|source| failed(&path, "ask for the cgroup", source))?.ino();
        node_netns::current()?;
        object.load_socket_programs()?;
        fs::create_dir_all(&dir).map_err(|source| failed(&dir, "create the directory", source))?;
        let programs = names::SOCKET_PROGRAMS.into_iter().zip(CgroupAttach::ALL);
        let programs = programs
            .map(|(name, attach)| program(object, name).map(|fd| Program { name, attach, fd }))
            .collect::<io::Result<_>>()
            .map_err(|source| failed(&path, "duplicate a program", source))?;
        let sockets = Self { dir, others, path, cgroup, id, programs };
        for program in &sockets.programs {
            // One program of each kind at a time: a second one would take the backend that the first has put in for what the
            // process has asked for.
            if sockets.has_own(program)? || !sockets.is_others(program) {
                sockets.attach(program)?;
            }
        }
        Ok(sockets)
    }

    /// Puts this version's programs in the places of others', without a socket in between that meets none or two.
    pub(super) fn let_in(&self) -> Result<(), PinError> {
        for program in &self.programs {
            let pin = self.dir.join(program.name);
            for other in &self.others {
                let theirs = other.join(program.name);
                if is_link(&theirs, program.attach) && !self.has_own(program)? {
                    fs::rename(&theirs, &pin).map_err(|source| failed(&theirs, "rename the link", source))?;
                }
            }
            self.attach(program)?;
        }
        Ok(())
    }

    fn has_own(&self, program: &Program) -> Result<bool, PinError> {
        let pin = self.dir.join(program.name);
        fs::exists(&pin).map_err(|source| failed(&pin, "look for the link", source))
    }

    fn is_others(&self, program: &Program) -> bool {
        self.others.iter().any(|dir| is_link(&dir.join(program.name), program.attach))
    }

    fn attach(&self, program: &Program) -> Result<(), PinError> {
        let pin = self.dir.join(program.name);
        if self.replaced(&pin, program)? {
            return Ok(());
        }
        let link = bpf::link_create_cgroup(program.fd.as_fd(), self.cgroup.as_fd(), program.attach)
            .map_err(|source| failed(&self.path, "attach a program to the cgroup", source))?;
        // Of another cgroup, or one that is gone. After: no socket is without a program in between.
        unlink(&pin)?;
        bpf::pin(link.as_fd(), &pin).map_err(|source| failed(&pin, "pin the link", source))
    }

    /// Whether the link that is pinned there is attached to the cgroup; its program is this one then.
    fn replaced(&self, pin: &Path, program: &Program) -> Result<bool, PinError> {
        let link = match bpf::open_pin(pin) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(pin, "open the link", error)),
        };
        let on = bpf::cgroup_link(link.as_fd()).map_err(|source| failed(pin, "ask for the link", source))?;
        if on != Some((self.id, program.attach as u32)) {
            return Ok(false);
        }
        match bpf::link_update(link.as_fd(), program.fd.as_fd()) {
            Ok(()) => Ok(true),
            // The cgroup went away just now.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
            Err(error) => Err(failed(pin, "replace the program of the link", error)),
        }
    }
}

/// Whether a program of the kind is attached by the link that is pinned there. Whatever else lies in another version's folder is none
/// of this one's business, and goes with it.
fn is_link(pin: &Path, attach: CgroupAttach) -> bool {
    bpf::open_pin(pin)
        .and_then(|link| bpf::cgroup_link(link.as_fd()))
        .is_ok_and(|on| on.is_some_and(|(_, kind)| kind == attach as u32))
}

fn program(object: &mut Object, name: &str) -> io::Result<OwnedFd> {
    let program = object.socket_program(name).map_err(io::Error::other)?;
    program.fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
}

fn remove(dir: &Path) -> Result<(), PinError> {
    names::SOCKET_PROGRAMS.into_iter().try_for_each(|name| unlink(&dir.join(name)))
}

fn unlink(pin: &Path) -> Result<(), PinError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(pin, "remove the link", error)),
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
