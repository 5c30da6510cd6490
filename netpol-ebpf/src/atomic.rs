//! Additions that other CPUs make at the same time.

use core::arch::asm;

/// Adds to a counter that other CPUs add to as well: `BPF_ATOMIC | BPF_ADD` without a result, which every kernel has
/// (one that returns the old value needs 5.12). Written as an instruction because `core` for this target offers loads and
/// stores only.
///
/// # Safety
/// `counter` points into a map value and is aligned.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) amount, options(nostack)) };
}
