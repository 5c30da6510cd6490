//! Waiting until no packet can still be reading what was replaced.

use std::{io, os::fd::AsFd, os::fd::OwnedFd};

use super::{bpf, table::error};
use crate::dataplane::Error;

/// Waits for the programs that run now.
///
/// A TC program runs inside an RCU read-side section, so one RCU grace period outlasts it. The kernel promises one after
/// each update of a map of maps: `maybe_wait_bpf_programs` in kernel/bpf/syscall.c calls `synchronize_rcu` "so that
/// userspace, when we return to it, knows that all programs that could be running use the new map value" (since 4.20).
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` does the same only on some machines: it fails with full-dynticks CPUs.
pub(super) struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    pub(super) fn new() -> io::Result<Self> {
        let inner = bpf::create_array(None)?;
        let outer = bpf::create_array(Some(inner.as_fd()))?;
        Ok(Self { outer, inner })
    }

    /// Takes some milliseconds.
    pub(super) fn wait(&self) -> Result<(), Error> {
        bpf::set_inner(self.outer.as_fd(), self.inner.as_fd())
            .map_err(|source| error("bpf_map_update_elem", "a map of maps", source))
    }
}
