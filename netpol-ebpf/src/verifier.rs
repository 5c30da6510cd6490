//! What changes nothing but what the verifier or the compiler knows.

use core::arch::asm;

/// The same number, for a comparison after which the verifier is to know no more of the original: it follows all that comes after once
/// for each thing that it knows, even if that makes no difference there (`sync_linked_regs`, before 6.11 `find_equal_scalars`).
#[inline(always)]
pub fn unlinked(mut number: u32) -> u32 {
    // SAFETY: an exclusive or with 0.
    unsafe { asm!("{0} ^= 0", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// The same number, of which the compiler is to know nothing: else it makes of arithmetic comparisons, and each is a branch.
#[inline(always)]
pub fn opaque(mut number: u32) -> u32 {
    // SAFETY: a register's move to itself. Without an instruction, two lines of the source would begin at the same one, which the kernel
    // refuses (`check_btf_line`, kernel/bpf/verifier.c).
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// As [`opaque`]; and what lies in memory is read anew behind it, instead of being kept on the stack.
#[inline(always)]
pub fn read_anew(mut number: u32) -> u32 {
    // SAFETY: a register's move to itself, as in `opaque`.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(nostack)) };
    number
}
