//! One link of an interface.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use netpol_common::wire;

use super::super::bpf;

/// Who runs the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XdpMode {
    /// The driver, before the kernel has a buffer for the frame.
    Native,
    /// The kernel, with a buffer.
    Generic,
}

impl XdpMode {
    pub(super) const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// As users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Native => Self::Generic,
            Self::Generic => Self::Native,
        }
    }

    pub(super) fn row(self) -> u32 {
        match self {
            Self::Native => wire::NATIVE,
            Self::Generic => wire::GENERIC,
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Native => bpf::XDP_DRV_MODE,
            Self::Generic => bpf::XDP_SKB_MODE,
        }
    }
}

/// Where a link is pinned. It has no other holder: without the pin the program is off the interface.
pub(super) struct Pin {
    pub(super) path: PathBuf,
}

impl Pin {
    /// Takes the program off. When this returns, the interface is free for another one.
    pub(super) fn remove(&self) -> io::Result<()> {
        // What cannot be opened is no link that holds a program on an interface.
        let link = bpf::open_pin(&self.path).ok();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let Some(link) = link else { return Ok(()) };
        match bpf::link_detach(link.as_fd()) {
            // It is no link, or of a kind that cannot be detached: it goes when it is closed.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
            result => result,
        }
    }

    /// Whether a link was there and has this program now.
    pub(super) fn replace(&self, program: BorrowedFd<'_>, ifindex: u32) -> Result<bool, String> {
        let failed =
            |call: &str, error: io::Error| format!("{}: cannot {call}: {error}", self.path.display());
        let link = match bpf::open_pin(&self.path) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("open the link", error)),
        };
        // A link outlives its interface, and the index may have gone to another one.
        let on = bpf::xdp_interface(link.as_fd()).map_err(|error| failed("ask for the link", error))?;
        if on == Some(ifindex) {
            match bpf::link_update(link.as_fd(), program) {
                Ok(()) => return Ok(true),
                // The interface went away just now.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(error) => return Err(failed("replace the program of the link", error)),
            }
        }
        self.remove().map_err(|error| failed("remove the link", error))?;
        Ok(false)
    }

    pub(super) fn create(&self, program: BorrowedFd<'_>, ifindex: u32, mode: XdpMode) -> Result<(), String> {
        let link =
            bpf::link_create_xdp(program, ifindex, mode.flags()).map_err(|error| refused(&error, mode))?;
        bpf::pin(link.as_fd(), &self.path)
            .map_err(|error| format!("{}: cannot pin the link: {error}", self.path.display()))
    }
}

fn refused(error: &io::Error, mode: XdpMode) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => "it has an XDP program of somebody else".to_owned(),
        Some(libc::EOPNOTSUPP) if mode == XdpMode::Native => "its driver runs no XDP programs".to_owned(),
        _ => format!("cannot attach in {} mode (BPF_LINK_CREATE): {error}", mode.name()),
    }
}
