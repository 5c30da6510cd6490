//! How many entries of the connection tables a pod may fill: one that floods takes no room from the others.

use crate::{atomic, maps::QUOTA};

/// Whether the pod behind `owner` may fill no more.
#[inline(always)]
pub fn used_up(owner: u32) -> bool {
    match QUOTA.get_ptr(owner) {
        // SAFETY: a non-null pointer into a hash map; one aligned load.
        Some(left) => unsafe { left.read_volatile() as i64 <= 0 },
        None => false,
    }
}

/// Counts one entry. The agent counts all of them from time to time, and sets the number right that it overwrites.
#[inline(always)]
pub fn charge(owner: u32) {
    if let Some(left) = QUOTA.get_ptr_mut(owner) {
        // SAFETY: a non-null pointer into a hash map, aligned as its value type.
        unsafe { atomic::add(left, u64::MAX) };
    }
}

/// Takes back one that was counted.
#[inline(always)]
pub fn give_back(owner: u32) {
    if let Some(left) = QUOTA.get_ptr_mut(owner) {
        // SAFETY: as in `charge`.
        unsafe { atomic::add(left, 1) };
    }
}
