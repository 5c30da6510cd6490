//! Other versions' programs on interfaces: left at work until this version's take their places.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    clsact,
    links::{self, Hook, LinkError},
    netlink::Netlink,
};

/// Where other versions' links are pinned.
pub(super) struct Others {
    /// Empty where there are none, or no more.
    dirs: Vec<PathBuf>,
    /// Filters of this process, which look like other versions'.
    own: BTreeSet<(u32, Hook)>,
}

impl Others {
    pub(super) fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs, own: BTreeSet::new() }
    }

    /// A filter of this process is there now.
    pub(super) fn note_own(&mut self, ifindex: u32, hook: Hook) {
        if !self.dirs.is_empty() {
            self.own.insert((ifindex, hook));
        }
    }

    /// Whether another version has its programs in all these places.
    pub(super) fn have(
        &self,
        netlink: &mut Netlink,
        ifindex: u32,
        hooks: [Hook; 2],
    ) -> Result<bool, LinkError> {
        if self.dirs.is_empty() {
            return Ok(false);
        }
        for hook in hooks {
            let is_filter =
                !self.own.contains(&(ifindex, hook)) && clsact::is_attached(netlink, ifindex, hook)?;
            if !is_filter && !self.is_linked(ifindex, hook) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a pinned link of another version is on the interface.
    pub(super) fn is_linked(&self, ifindex: u32, hook: Hook) -> bool {
        self.dirs.iter().any(|dir| holds(dir, ifindex, hook))
    }

    /// Makes other versions' links this one's, programs and all; one that has no own beside it.
    pub(super) fn move_to(&self, own: &Path) -> Result<(), LinkError> {
        for dir in self.dirs.iter().filter(|dir| dir.is_dir()) {
            for (ifindex, hook) in links::pinned(dir)? {
                let to = links::pin_path(own, ifindex, hook);
                if holds(dir, ifindex, hook) && !links::is_linked(own, ifindex, hook)? {
                    fs::rename(links::pin_path(dir, ifindex, hook), to).map_err(links::failed(
                        "rename the link",
                        hook,
                        ifindex,
                    ))?;
                }
            }
        }
        Ok(())
    }

    /// From now on this version's programs take every place.
    pub(super) fn forget(&mut self) {
        self.dirs.clear();
        self.own.clear();
    }
}

/// Whatever else lies in another version's folder is none of this one's business, and goes with it.
fn holds(dir: &Path, ifindex: u32, hook: Hook) -> bool {
    links::is_linked(dir, ifindex, hook).unwrap_or_else(|error| {
        tracing::debug!(error = &error as &dyn std::error::Error, path = %dir.display(), "a pin of another version");
        false
    })
}
