//! Programs of somebody else that see what comes in by an uplink after netpol's: what it hands over they miss.

use std::{io, os::fd::AsFd, path::PathBuf};

use super::{
    super::{
        AttachMode,
        bpf::{self, TcxAttach},
        clsact,
        links::{self, Hook},
        netlink::Netlink,
    },
    Found, Interface, Obstacle,
};

pub(super) struct Behind {
    mode: AttachMode,
    /// Where links are pinned.
    links: PathBuf,
}

impl Behind {
    pub(super) fn new(mode: AttachMode, links: PathBuf) -> Self {
        Self { mode, links }
    }

    pub(super) fn look(&self, netlink: &mut Netlink, uplinks: &[Interface<'_>]) -> Found {
        for Interface { ifindex, name } in uplinks {
            let unknown =
                |error: &dyn std::error::Error| Obstacle::Unknown(format!("programs on {name}: {error}"));
            let any = match self.mode {
                AttachMode::Tcx => self.is_link_behind(*ifindex).map_err(|error| unknown(&error))?,
                AttachMode::Clsact => false,
            };
            // Filters come after links.
            let others = clsact::is_behind(netlink, *ifindex, Hook::FromNetdev, self.mode);
            if any || others.map_err(|error| unknown(&error))? {
                return Err(Obstacle::Program((*name).to_owned()));
            }
        }
        Ok(())
    }

    /// Whether a link is behind ours.
    fn is_link_behind(&self, ifindex: u32) -> io::Result<bool> {
        let link = bpf::open_pin(&links::pin_path(&self.links, ifindex, Hook::FromNetdev))?;
        let own = bpf::program_of(link.as_fd())?;
        let programs = bpf::tcx_programs(ifindex, TcxAttach::Ingress)?;
        let place = programs.iter().position(|program| *program == own);
        place
            .map(|place| place + 1 < programs.len())
            .ok_or_else(|| io::Error::other("netpol's own is not there"))
    }
}
