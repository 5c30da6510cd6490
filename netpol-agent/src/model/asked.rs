//! How often selectors were held against labels, for tests that count work.

use std::cell::Cell;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// Counts one more.
pub(super) fn count() {
    ASKED.set(ASKED.get() + 1);
}

/// How often on this thread since the last call.
pub(crate) fn take() -> usize {
    ASKED.take()
}
