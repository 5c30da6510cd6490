//! Which programs are on an interface, and in which order.

use std::{io, os::fd::BorrowedFd};

use bytemuck::{Pod, Zeroable};

use super::{TcxAttach, bpf, link_info};

const PROG_QUERY: libc::c_int = 16;
/// More than the kernel lets on one interface (`BPF_MPROG_MAX`).
const MOST: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ProgQuery {
    /// Interface index.
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Numbers of the programs of TCX links on an interface of the current network namespace, in the order in which they see packets.
pub(in super::super) fn tcx_programs(ifindex: u32, attach: TcxAttach) -> io::Result<Vec<u32>> {
    let mut programs = [0u32; MOST];
    let mut attr = ProgQuery {
        target: ifindex,
        attach_type: attach as u32,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MOST as u32,
        ..ProgQuery::zeroed()
    };
    // SAFETY: `prog_ids` points to `count` writable words that outlive the call; the other pointers are null.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok(programs.into_iter().take(attr.count as usize).collect())
}

/// Number of a link's program.
pub(in super::super) fn program_of(link: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(link_info(link)?.prog_id)
}
