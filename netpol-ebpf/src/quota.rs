//! How many entries of the connection tables a pod may fill: one that floods takes no room from the others.

use crate::{atomic, maps::QUOTA};

/// What is left to the pod behind `owner`; `None`: nothing counts.
#[inline(always)]
pub fn of(owner: u32) -> Option<*mut u64> {
    QUOTA.get_ptr_mut(owner)
}

/// Whether it may fill no more.
#[inline(always)]
pub fn used_up(left: Option<*mut u64>) -> bool {
    match left {
        // SAFETY: a non-null pointer into a hash map; one aligned load.
        Some(left) => unsafe { left.read_volatile() as i64 <= 0 },
        None => false,
    }
}

/// Counts so many entries more. The agent counts all of them from time to time, and sets the number right that it overwrites.
#[inline(always)]
pub fn charge(left: Option<*mut u64>, entries: i64) {
    if let Some(left) = left {
        // SAFETY: a non-null pointer into a hash map, aligned as its value type.
        unsafe { atomic::add(left, entries.wrapping_neg() as u64) };
    }
}
