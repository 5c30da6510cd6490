//! What changes nothing but what the verifier knows.

use core::arch::asm;

/// The same number, for a comparison after which the verifier is to know no more of the original: it follows all that comes after once
/// for each thing that it knows, even if that makes no difference there (`sync_linked_regs`, before 6.11 `find_equal_scalars`).
#[inline(always)]
pub fn unlinked(mut number: u32) -> u32 {
    // SAFETY: an exclusive or with 0.
    unsafe { asm!("{0} ^= 0", inout(reg) number, options(pure, nomem, nostack)) };
    number
}
