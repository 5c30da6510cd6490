//! What netpol takes of the node's memory, and how much of it there is.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use netpol_common::names;

use super::{bpf, object::pin_path};

const SELF: &str = "/proc/self/status";
const NODE: &str = "/proc/meminfo";

/// The pinned maps, to be asked how much memory they take.
#[derive(Debug)]
pub struct MapMemory(Vec<(&'static str, OwnedFd)>);

impl MapMemory {
    /// Of the maps that are pinned under `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let open = |name| Ok((name, bpf::open_pin(&pin_path(dir, name))?));
        names::PINNED.into_iter().map(open).collect::<io::Result<_>>().map(Self)
    }

    /// Bytes that the kernel takes for each map, by name. Kernels before 6.4 do not count but tell what it would take if every row
    /// were there.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn read(&self) -> io::Result<BTreeMap<&'static str, u64>> {
        let bytes = |(name, map): &(&'static str, OwnedFd)| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
            Ok((*name, field(&info, "memlock:")?))
        };
        self.0.iter().map(bytes).collect()
    }
}

/// Bytes of memory that this process has in use.
///
/// # Errors
/// If the kernel does not say.
pub fn resident() -> io::Result<u64> {
    Ok(field(&fs::read_to_string(SELF)?, "VmRSS:")? * 1024)
}

/// Bytes of memory that the node has.
///
/// # Errors
/// If the kernel does not say.
pub fn of_node() -> io::Result<u64> {
    Ok(field(&fs::read_to_string(NODE)?, "MemTotal:")? * 1024)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> io::Result<u64> {
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("the kernel does not tell {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name_and_nothing_stands_for_one_that_is_missing() {
        let info = "pos:\t0\nflags:\t02\nmemlock:\t45056\nmap_id:\t9\n";
        assert_eq!(field(info, "memlock:").unwrap(), 45_056);
        assert_eq!(field("MemTotal:       24684532 kB\n", "MemTotal:").unwrap(), 24_684_532);
        assert!(field(info, "VmRSS:").is_err());
        assert!(field("VmRSS:\tmuch kB\n", "VmRSS:").is_err());
    }

    #[test]
    fn this_process_takes_a_part_of_what_there_is() {
        let (resident, node) = (resident().unwrap(), of_node().unwrap());
        assert!(resident > 1 << 20 && resident < node, "{resident} of {node}");
    }
}
