//! How the C library asks the kernel for memory.

/// Gives memory back that the agent needed for a moment: the lists of a large cluster pass through blocks of all sizes. By
/// default glibc keeps ever larger blocks for itself once one of them has been freed (M_MMAP_THRESHOLD in mallopt(3)), and that
/// is a third of what an agent takes in the end. Called once, before the first thread.
#[cfg(target_env = "gnu")]
pub fn give_back_what_is_free() {
    const LARGE: libc::c_int = 128 << 10;
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt(3) takes two numbers and changes nothing but how later calls of malloc are served.
        let done = unsafe { libc::mallopt(option, LARGE) };
        debug_assert_eq!(done, 1, "mallopt takes {LARGE} for {option}");
    }
}

/// Other C libraries have no such habit.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_what_is_free() {}
