//! From a service's address to one of its backends. Writes no packet bytes.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use netpol_common::{net::Be16, reason::DropReason, service::ServiceRow};

use crate::{family::Family, maps::SVC};

/// A backend of service `svc`, at random.
#[inline(always)]
pub fn pick<F: Family>(svc: u32) -> Result<(F::Addr, Be16), DropReason> {
    let Some(row) = SVC.get_ptr(svc) else { return Err(DropReason::NoBackend) };
    // SAFETY: a pointer into an array map; one aligned volatile load, since the agent stores through mmap.
    let row = ServiceRow(unsafe { row.cast::<u64>().read_volatile() });
    // SAFETY: helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    row.pick(random).and_then(F::backend).ok_or(DropReason::NoBackend)
}
