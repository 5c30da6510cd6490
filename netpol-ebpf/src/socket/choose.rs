//! Who answers a process of the node.

use bytemuck::Zeroable;
use netpol_common::{net::Be16, reason::DropReason, service::FrontendRow};

use crate::{family::Family, service};

/// Nobody answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nobody {
    /// No endpoint at all.
    Refused,
    /// None on this node, and only those would do; or somebody, but not for this node.
    Dropped,
}

impl Nobody {
    /// What the process is told. Both are errors that the kernel's own clients (`xs_tcp_setup_socket`) know as a reason to
    /// try again later.
    #[inline(always)]
    pub(super) const fn errno(self) -> i32 {
        const ECONNREFUSED: i32 = 111;
        const EHOSTUNREACH: i32 = 113;
        match self {
            Self::Refused => ECONNREFUSED,
            Self::Dropped => EHOSTUNREACH,
        }
    }
}

impl From<DropReason> for Nobody {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        if reason == DropReason::NoLocalBackend { Self::Dropped } else { Self::Refused }
    }
}

/// A backend for a client on this node. All of the node's processes are one client: its source address is not chosen yet, and
/// the unspecified one, which no packet has, stands for it. By that, a Maglev table would send every node to one backend.
#[inline(always)]
pub(super) fn choose<F: Family>(frontend: &FrontendRow) -> Result<(F::Addr, Be16), Nobody> {
    let among = service::backends(frontend.near)?.without_ring();
    Ok(service::choose::<F>(frontend, among, &F::Addr::zeroed(), (Be16::default(), 0))?)
}
