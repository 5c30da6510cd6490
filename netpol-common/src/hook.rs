//! Where a program is attached.

use crate::{
    direction::Direction,
    event::{HOOK_FROM_POD, HOOK_TO_POD},
};

/// Which of the two programs runs. A constant wherever it is asked, so that each program holds only its own half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Hook {
    /// TC ingress of the host side: the pod sent the packet.
    FromPod = HOOK_FROM_POD,
    /// TC egress of the host side: the pod is about to receive it.
    ToPod = HOOK_TO_POD,
}

impl Hook {
    /// The direction of the pod whose interface the hook is on.
    #[must_use]
    #[inline(always)]
    pub const fn direction(self) -> Direction {
        match self {
            Self::FromPod => Direction::Egress,
            Self::ToPod => Direction::Ingress,
        }
    }
}
