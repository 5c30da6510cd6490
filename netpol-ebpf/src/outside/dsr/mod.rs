//! Direct server return: a client's packets are sent on to the backend's node as they are, in a packet from node to node, and that
//! node answers the client itself (`docs/adr/0098-direct-server-return.md`).

mod admit;
mod arrive;
mod relay;
mod send;
mod tunnel;

pub use admit::admit;
pub use arrive::decapsulate;
use netpol_common::cluster::kind;
pub use relay::{relay, tell};
pub use send::encapsulate;
pub use tunnel::Tunnelled;

use crate::{
    case::Case,
    family::{Ipv4, Ipv6},
};

/// Whether the client of the case's connection and its backend on another node are such that the backend may answer directly: the
/// client is nobody of the cluster, who would have an entry for this very connection at the backend's node, or be that node; and
/// the backend is a pod.
#[inline(always)]
pub fn suits<F: Tunnelled>(case: &mut Case<F::Addr>) -> bool {
    case.lend();
    F::suits_apart() != 0
}

/// The answer to that as a global function, see `policy::np_evaluate`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_suits4() -> u64 {
    is_for_dsr::<Ipv4>().into()
}

/// As `np_suits4`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_suits6() -> u64 {
    is_for_dsr::<Ipv6>().into()
}

#[inline(always)]
fn is_for_dsr<F: Tunnelled>() -> bool {
    let Some(case) = Case::<F::Addr>::resume() else { return false };
    F::own().is_some()
        && F::cluster(case.packet.tuple.src).0 == kind::NOBODY
        && F::cluster(case.nat_dst).0 == kind::POD
}
