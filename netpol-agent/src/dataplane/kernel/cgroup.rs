//! Where the unified hierarchy of cgroups is mounted.

use std::{fs, io, path::PathBuf};

const MOUNTS: &str = "/proc/self/mountinfo";

/// No cgroup that holds every process.
#[derive(Debug, thiserror::Error)]
pub(super) enum CgroupError {
    #[error("{MOUNTS}")]
    Mounts(#[source] io::Error),
    #[error("no cgroup2 file system is mounted from its root: mount it, or name a cgroup with --cgroup")]
    None,
}

/// The root of the hierarchy, as this process sees it: in a container, without a cgroup namespace of the container's own.
pub(super) fn whole() -> Result<PathBuf, CgroupError> {
    let mounts = fs::read_to_string(MOUNTS).map_err(CgroupError::Mounts)?;
    find(&mounts).ok_or(CgroupError::None)
}

/// The first mount of the whole hierarchy. A line (proc(5)): ID, parent, device, root, mount point, options, optional fields, a
/// dash, type of the file system, source, its options.
fn find(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        (what.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_unified_hierarchy_is_found_wherever_it_is_mounted() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let part = "40 31 0:38 /kubepods/x /other rw shared:9 - cgroup2 cgroup2 rw\n";
        let whole =
            "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(find(&[v1, part, whole].concat()).as_deref(), Some("/sys/fs/cgroup/unified".as_ref()));
        assert_eq!(find(&[v1, part].concat()), None);
    }
}
