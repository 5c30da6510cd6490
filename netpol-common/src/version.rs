//! The version of everything pinned.

/// Names the pin directory (`v5`). Goes up with every change of a map's layout or meaning, so that an agent never
/// reads another version's rows.
pub const ABI_VERSION: u32 = 5;
