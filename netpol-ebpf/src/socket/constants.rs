//! What is known when the programs are loaded. The map they lie in is frozen, so the verifier takes them for numbers.

/// See `netpol_common::names::NODE_NETNS`.
#[unsafe(no_mangle)]
static NODE_NETNS: u64 = 0;
/// See `netpol_common::names::SAYS_WHY`.
#[unsafe(no_mangle)]
static SAYS_WHY: u64 = 0;

#[inline(always)]
pub(super) fn node_netns() -> u64 {
    // SAFETY: a static; volatile because the agent sets it when it loads the object.
    unsafe { (&raw const NODE_NETNS).read_volatile() }
}

#[inline(always)]
pub(super) fn says_why() -> bool {
    // SAFETY: as above.
    unsafe { (&raw const SAYS_WHY).read_volatile() != 0 }
}
