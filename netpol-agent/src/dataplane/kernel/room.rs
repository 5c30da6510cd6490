//! How many connections there is room for, where nobody says: as many as before, or by the node's memory.

use std::{ops::RangeInclusive, path::Path};

use aya::maps::{MapData, MapType};
use netpol_common::{limits, names};

use super::{memory, object::pin_path, pins};

/// Sizes that a connection table can be given.
pub const SIZES: RangeInclusive<u32> = 1024..=1 << 24;
/// Bytes of a node's memory for each connection that there is room for, per family: both families' rows are 440
/// bytes of it.
const SHARE: u64 = 256 << 10;
/// Fewest and most.
const BOUNDS: (u32, u32) = (1 << 16, 1 << 20);

/// Rows of each connection table: those of the tables that are pinned under `root`, this version's or another's, since tables of another size
/// would lose the connections; else by the node's memory.
#[must_use]
pub fn connections(root: &Path) -> u32 {
    pinned(root).unwrap_or_else(|| match memory::of_node() {
        Ok(bytes) => by_memory(bytes),
        Err(error) => {
            tracing::warn!(%error, "the connection tables are sized without regard to the node's memory");
            limits::CT
        }
    })
}

fn pinned(root: &Path) -> Option<u32> {
    pins::folders(root).iter().find_map(|folder| {
        // What is damaged is put aside in any case, and says nothing.
        let info = MapData::from_pin(pin_path(folder, names::CT4)).ok()?.info().ok()?;
        let is_table = matches!(info.map_type(), Ok(MapType::Hash)) && SIZES.contains(&info.max_entries());
        is_table.then(|| info.max_entries())
    })
}

/// A power of two: a node whose memory grows a little keeps its size.
fn by_memory(bytes: u64) -> u32 {
    let rows = (bytes / SHARE).checked_next_power_of_two().unwrap_or(u64::MAX);
    u32::try_from(rows).unwrap_or(u32::MAX).clamp(BOUNDS.0, BOUNDS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_the_nodes_memory_within_bounds() {
        const GIB: u64 = 1 << 30;
        // What a machine has is a little less than what it is sold with.
        for (bytes, rows) in [
            (GIB / 2, 65_536),
            (GIB * 78 / 10, 65_536),
            (GIB * 157 / 10, 65_536),
            (GIB * 235 / 10, 131_072),
            (GIB * 314 / 10, 131_072),
            (GIB * 63, 262_144),
            (GIB * 126, 524_288),
            (GIB * 1000, 1_048_576),
            (u64::MAX, 1_048_576),
        ] {
            assert_eq!(by_memory(bytes), rows, "{bytes}");
        }
    }

    #[test]
    fn without_pins_it_is_the_memory_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(connections(folder.path()), by_memory(memory::of_node().unwrap()));
    }
}
