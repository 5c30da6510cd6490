//! Programs on interfaces: attached so that they outlive the agent, found again after a restart and replaced in place.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use netpol_common::names;

use super::{
    LoadError, Object,
    bpf::{self, TcxAttach},
    clsact,
    netlink::{Netlink, NetlinkError},
    others::Others,
    veth,
};

/// Where a program sits: on the host side of a pod's interface, or on an uplink.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Hook {
    /// TC ingress: what the pod sends.
    FromPod,
    /// TC egress: what the pod receives.
    ToPod,
    /// TC ingress of an uplink: what comes from outside.
    FromNetdev,
    /// TC egress of an uplink: what the node itself sends out.
    ToNetdev,
}

impl Hook {
    /// On a pod's interface.
    pub(super) const POD: [Self; 2] = [Self::FromPod, Self::ToPod];
    /// On an uplink.
    pub(super) const UPLINK: [Self; 2] = [Self::FromNetdev, Self::ToNetdev];
    const ALL: [Self; 4] = [Self::FromPod, Self::ToPod, Self::FromNetdev, Self::ToNetdev];

    /// Name of the program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::FromPod => names::FROM_POD,
            Self::ToPod => names::TO_POD,
            Self::FromNetdev => names::FROM_NETDEV,
            Self::ToNetdev => names::TO_NETDEV,
        }
    }

    fn tcx(self) -> TcxAttach {
        match self {
            Self::FromPod | Self::FromNetdev => TcxAttach::Ingress,
            Self::ToPod | Self::ToNetdev => TcxAttach::Egress,
        }
    }
}

/// How programs are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// Pinned TCX links (kernel 6.6 and later).
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

/// A program could not be attached or found again.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel or the pin directory refused.
    #[error("{call} for {program} on interface {ifindex}")]
    Link {
        /// What was tried.
        call: &'static str,
        /// Which program.
        program: &'static str,
        /// On which interface.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A request by netlink failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The folder of pinned links cannot be read.
    #[error("{path}: cannot list pinned links")]
    List {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The object lacks a program.
    #[error(transparent)]
    Object(#[from] LoadError),
}

/// The programs, and the interfaces they are on. Works in the network namespace of the thread that opened it.
pub(super) struct Links {
    /// In the order of [`Hook::ALL`].
    programs: [OwnedFd; 4],
    uplinks: BTreeSet<u32>,
    mode: AttachMode,
    dir: PathBuf,
    /// Other versions' programs, which are left in their places so far.
    others: Others,
    netlink: Netlink,
}

impl Links {
    /// `dir` holds the pinned links, `others` those of other versions. Without `mode`, the best that the kernel has.
    pub(super) fn open(
        object: &mut Object,
        dir: PathBuf,
        others: Vec<PathBuf>,
        mode: Option<AttachMode>,
    ) -> Result<Self, LinkError> {
        let [from_pod, to_pod, from_netdev, to_netdev] = Hook::ALL.map(|hook| program(object, hook));
        let programs = [from_pod?, to_pod?, from_netdev?, to_netdev?];
        let [any, ..] = &programs;
        let mode = mode.unwrap_or_else(|| probe(any));
        let others = Others::new(others);
        Ok(Self { programs, uplinks: BTreeSet::new(), mode, dir, others, netlink: Netlink::open()? })
    }

    pub(super) fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Gives every interface that an agent attached to before this agent's programs, and forgets those that are gone. Where another
    /// version's are, they stay. Returns the interfaces.
    pub(super) fn adopt(&mut self) -> Result<BTreeSet<u32>, LinkError> {
        let mut adopted = BTreeSet::new();
        let pods = |(_, hook): &(u32, Hook)| Hook::POD.contains(hook);
        for (ifindex, hook) in pinned(&self.dir)?.into_iter().filter(pods) {
            match self.replace(ifindex, hook) {
                Ok(true) => {
                    adopted.insert(ifindex);
                }
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        for ifindex in veth::list(&mut self.netlink)?.into_iter().map(|link| link.ifindex) {
            for hook in Hook::POD {
                if clsact::is_attached(&mut self.netlink, ifindex, hook)?
                    || self.others.is_linked(ifindex, hook)
                {
                    adopted.insert(ifindex);
                }
            }
        }
        // One program may be missing where an agent died between the two; and the mode may have changed.
        for ifindex in &adopted {
            self.attach(*ifindex)?;
        }
        Ok(adopted)
    }

    /// Has both programs on the interface; what is there already is replaced in place.
    pub(super) fn attach(&mut self, ifindex: u32) -> Result<(), LinkError> {
        self.attach_all(ifindex, Hook::POD)
    }

    /// As `attach`, on an uplink.
    pub(super) fn attach_uplink(&mut self, ifindex: u32) -> Result<(), LinkError> {
        self.attach_all(ifindex, Hook::UPLINK)?;
        self.uplinks.insert(ifindex);
        Ok(())
    }

    /// Whether this process has put its programs on an uplink.
    pub(super) fn is_uplink(&self, ifindex: u32) -> bool {
        self.uplinks.contains(&ifindex)
    }

    /// The uplinks that this process has put its programs on.
    pub(super) fn uplinks(&self) -> Vec<u32> {
        self.uplinks.iter().copied().collect()
    }

    /// Whether the programs are on an interface still.
    pub(super) fn is_whole(&mut self, ifindex: u32, hooks: [Hook; 2]) -> Result<bool, LinkError> {
        if self.others.have(&mut self.netlink, ifindex, hooks)? {
            return Ok(true);
        }
        for hook in hooks {
            let is_there = match self.mode {
                AttachMode::Tcx => is_linked(&self.dir, ifindex, hook)?,
                AttachMode::Clsact => clsact::is_attached(&mut self.netlink, ifindex, hook)?,
            };
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts this agent's programs where other versions' are, each in the place of the one before and without a packet in between.
    /// Uplinks are left to `attach_uplink`.
    pub(super) fn let_in(&mut self) -> Result<(), LinkError> {
        if self.mode == AttachMode::Tcx {
            self.others.move_to(&self.dir)?;
        }
        self.others.forget();
        self.uplinks.clear();
        self.adopt().map(drop)
    }

    /// Forgets whether the programs are on an uplink: the next `attach_uplink` looks.
    pub(super) fn doubt_uplink(&mut self, ifindex: u32) {
        self.uplinks.remove(&ifindex);
    }

    /// Takes the programs off an uplink, which may be gone.
    pub(super) fn detach_uplink(&mut self, ifindex: u32) -> Result<(), LinkError> {
        let mut any = false;
        for hook in Hook::UPLINK {
            // A pinned link has no other holder.
            self.forget_hook(ifindex, hook)?;
            any |= clsact::detach(&mut self.netlink, ifindex, hook)?;
        }
        if any {
            clsact::remove_if_empty(&mut self.netlink, ifindex)?;
        }
        self.uplinks.remove(&ifindex);
        Ok(())
    }

    fn attach_all(&mut self, ifindex: u32, hooks: [Hook; 2]) -> Result<(), LinkError> {
        if self.others.have(&mut self.netlink, ifindex, hooks)? {
            return Ok(());
        }
        for hook in hooks {
            match self.mode {
                AttachMode::Tcx => {
                    if !self.replace(ifindex, hook)? {
                        self.create(ifindex, hook)?;
                    }
                }
                AttachMode::Clsact => {
                    let program = self.program(hook).try_clone().map_err(failed("dup", hook, ifindex))?;
                    clsact::attach(&mut self.netlink, ifindex, hook, program.as_fd())?;
                    self.others.note_own(ifindex, hook);
                }
            }
        }
        // Of the other mode, after: the interface is never without a program.
        for hook in hooks {
            match self.mode {
                AttachMode::Tcx => {
                    clsact::detach(&mut self.netlink, ifindex, hook)?;
                }
                AttachMode::Clsact => self.forget_hook(ifindex, hook)?,
            }
        }
        Ok(())
    }

    /// Removes what is pinned for an interface that is gone.
    pub(super) fn forget(&mut self, ifindex: u32) -> Result<(), LinkError> {
        Hook::POD.into_iter().try_for_each(|hook| self.forget_hook(ifindex, hook))
    }

    fn forget_hook(&self, ifindex: u32, hook: Hook) -> Result<(), LinkError> {
        match fs::remove_file(pin_path(&self.dir, ifindex, hook)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("unlink", hook, ifindex)(error))
            }
            _ => Ok(()),
        }
    }

    /// Replaces the program of the pinned link, if there is one and its interface still exists.
    fn replace(&self, ifindex: u32, hook: Hook) -> Result<bool, LinkError> {
        let link = match bpf::open_pin(&pin_path(&self.dir, ifindex, hook)) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("BPF_OBJ_GET", hook, ifindex)(error)),
        };
        // A link outlives its interface, and the index may have gone to another one.
        if bpf::tcx_interface(link.as_fd()).map_err(failed("BPF_OBJ_GET_INFO_BY_FD", hook, ifindex))?
            != Some(ifindex)
        {
            self.forget_hook(ifindex, hook)?;
            return Ok(false);
        }
        match bpf::link_update(link.as_fd(), self.program(hook).as_fd()) {
            Ok(()) => Ok(true),
            // The interface went away just now.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
                self.forget_hook(ifindex, hook)?;
                Ok(false)
            }
            Err(error) => Err(failed("BPF_LINK_UPDATE", hook, ifindex)(error)),
        }
    }

    fn create(&self, ifindex: u32, hook: Hook) -> Result<(), LinkError> {
        let link = bpf::link_create_tcx(self.program(hook).as_fd(), ifindex, hook.tcx()).map_err(failed(
            "BPF_LINK_CREATE",
            hook,
            ifindex,
        ))?;
        bpf::pin(link.as_fd(), &pin_path(&self.dir, ifindex, hook)).map_err(failed(
            "BPF_OBJ_PIN",
            hook,
            ifindex,
        ))
    }

    fn program(&self, hook: Hook) -> &OwnedFd {
        let [from_pod, to_pod, from_netdev, to_netdev] = &self.programs;
        match hook {
            Hook::FromPod => from_pod,
            Hook::ToPod => to_pod,
            Hook::FromNetdev => from_netdev,
            Hook::ToNetdev => to_netdev,
        }
    }
}

/// Removes the filters of this network namespace; pinned links go with their folder.
pub(super) fn remove_filters() -> Result<(), LinkError> {
    let mut netlink = Netlink::open()?;
    for ifindex in veth::indexes(&mut netlink)? {
        let mut any = false;
        for hook in Hook::ALL {
            any |= clsact::detach(&mut netlink, ifindex, hook)?;
        }
        if any {
            clsact::remove_if_empty(&mut netlink, ifindex)?;
        }
    }
    Ok(())
}

fn program(object: &mut Object, hook: Hook) -> Result<OwnedFd, LinkError> {
    let failed = |source| LinkError::Link { call: "dup", program: hook.program(), ifindex: 0, source };
    let program = object.program(hook.program())?;
    let fd = program.fd().map_err(|error| failed(io::Error::other(error)))?;
    fd.as_fd().try_clone_to_owned().map_err(failed)
}

/// Asks for a link to an interface that cannot be: a kernel with TCX misses the interface, one without it the link type.
fn probe(program: &OwnedFd) -> AttachMode {
    match bpf::link_create_tcx(program.as_fd(), i32::MAX.cast_unsigned(), TcxAttach::Ingress) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => AttachMode::Tcx,
        _ => AttachMode::Clsact,
    }
}

/// Whether a link is pinned there that is on the interface.
pub(super) fn is_linked(dir: &Path, ifindex: u32, hook: Hook) -> Result<bool, LinkError> {
    match bpf::open_pin(&pin_path(dir, ifindex, hook)) {
        Ok(link) => {
            let at = bpf::tcx_interface(link.as_fd());
            Ok(at.map_err(failed("BPF_OBJ_GET_INFO_BY_FD", hook, ifindex))? == Some(ifindex))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("BPF_OBJ_GET", hook, ifindex)(error)),
    }
}

pub(super) fn failed(call: &'static str, hook: Hook, ifindex: u32) -> impl FnOnce(io::Error) -> LinkError {
    move |source| LinkError::Link { call, program: hook.program(), ifindex, source }
}

pub(super) fn pin_path(dir: &Path, ifindex: u32, hook: Hook) -> PathBuf {
    dir.join(format!("{ifindex}-{}", hook.program()))
}

/// Whether links of ours have such names.
pub(super) fn is_name(name: &str) -> bool {
    parse(name).is_some()
}

fn parse(name: &str) -> Option<(u32, Hook)> {
    let (ifindex, program) = name.split_once('-')?;
    let hook = Hook::ALL.into_iter().find(|hook| hook.program() == program)?;
    Some((ifindex.parse().ok()?, hook))
}

/// The links that are pinned there.
pub(super) fn pinned(dir: &Path) -> Result<Vec<(u32, Hook)>, LinkError> {
    let failed = |source| LinkError::List { path: dir.into(), source };
    let mut links = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        match name.to_str().and_then(parse) {
            Some(link) => links.push(link),
            None => tracing::warn!(?dir, ?name, "not a link of ours"),
        }
    }
    Ok(links)
}
