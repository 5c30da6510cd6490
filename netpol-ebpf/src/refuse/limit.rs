//! How many ICMP errors a pod is sent (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).

use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::maps::REFUSALS;

/// Nanoseconds between two of them in the long run: 100 a second.
const INTERVAL: u64 = 10_000_000;
/// How far a burst may run ahead of that, in nanoseconds: 100 errors.
const BURST: u64 = 1_000_000_000;

/// Whether the pod behind `ifindex` may be sent another one. The row says when the errors sent so far were due; two CPUs
/// that write it at once let one more through.
#[inline(always)]
pub fn admits(ifindex: u32) -> bool {
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(row) = REFUSALS.get_ptr_mut(ifindex) else {
        return REFUSALS.insert(ifindex, now + INTERVAL, 0).is_ok();
    };
    // SAFETY: a non-null pointer into a hash map; one aligned word.
    let due = unsafe { row.read_volatile() };
    let due = if due < now { now } else { due };
    if due > now + BURST {
        return false;
    }
    // SAFETY: as above.
    unsafe { row.write_volatile(due + INTERVAL) };
    true
}
