//! What of one packet does not fit the 512 bytes of stack.

use netpol_common::conntrack::CtEntry;

/// Per CPU; programs of one CPU never interrupt each other (TC runs with bottom halves disabled), so it is private to
/// the packet. Every field is written before it is read.
#[repr(C)]
pub struct Scratch {
    /// The entry about to be inserted.
    pub entry: CtEntry,
}
