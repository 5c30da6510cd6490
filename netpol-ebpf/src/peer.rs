//! Endpoints, and whether a packet came from where its address says.

use netpol_common::{endpoint::EndpointRow, peer::PeerRow, reason::DropReason};

use crate::{
    family::Family,
    maps::{EP, NO_POD},
};

/// In [`PeerRow::flags`] of an address that has no row of its own.
pub const UNNAMED: u32 = 1;

/// Who an address is; an address that nothing names is matched by rules without peers only. Has a frame of its own on the
/// stack.
#[inline(never)]
pub fn look_up<F: Family>(addr: &F::Addr, row: &mut PeerRow) {
    *row = F::peer(*addr);
}

/// The pod's interface, if its policy is in place.
#[inline(always)]
pub fn ready(ifindex: u32) -> Result<EndpointRow, DropReason> {
    // SAFETY: copied at once; the agent replaces rows whole.
    match unsafe { EP.get(ifindex) } {
        Some(row) if row.flags & netpol_common::endpoint::flags::READY != 0 => Ok(*row),
        _ => Err(DropReason::Pending),
    }
}

/// Whether a packet that this node received through `ingress` can have been sent by the pod behind `ifindex`: directly,
/// or routed by the node from the bridge that the interface is a port of.
#[inline(always)]
pub fn came_from(ingress: u32, ifindex: u32) -> bool {
    if ingress == ifindex {
        return true;
    }
    // SAFETY: as in `ready`.
    match unsafe { EP.get(ifindex) } {
        Some(row) => ingress != 0 && row.master == ingress,
        None => false,
    }
}

/// Whether a packet of nobody on this node, which came in by `ingress`, can be believed to be that: by an interface that leads
/// to no pod, or from a pod with its policy in place, on whose way the node has put another source. Any other interface may
/// be that of a pod which the agent has not seen yet. Has a frame of its own on the stack.
#[inline(never)]
pub fn is_accounted_for(ingress: u32) -> bool {
    // SAFETY: nothing of the row is read.
    ingress == 0 || unsafe { NO_POD.get(ingress) }.is_some() || ready(ingress).is_ok()
}
