use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use netpol_cni::{
    Records,
    protocol::{Attachment, NetnsId, Wiring},
};

/// What plugins have told, in memory and in the records.
pub(super) struct Known {
    records: Records,
    all: Mutex<BTreeMap<Attachment, Wiring>>,
}

impl Known {
    /// What the records say of namespaces that are still there. Whoever cannot be read of is told later, by the source.
    pub(super) fn read(records: Records, netns_dir: &Path) -> Self {
        let (found, wrong) = records.read().unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "reading the records of the CNI plugin"
            );
            Default::default()
        });
        for line in wrong {
            tracing::warn!("a record of the CNI plugin is left out: {line}");
        }
        let there = namespaces(netns_dir);
        let (alive, gone): (Vec<_>, Vec<_>) = found.into_iter().partition(|w| there.contains(&w.netns));
        for wiring in gone {
            if let Err(error) = records.remove(&wiring.attachment) {
                tracing::warn!(%error, attachment = %wiring.attachment, "removing the record of what is gone");
            }
        }
        let all = alive.into_iter().map(|wiring| (wiring.attachment.clone(), wiring)).collect();
        Self { records, all: Mutex::new(all) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Attachment, Wiring>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Wiring> {
        self.lock().values().cloned().collect()
    }

    /// Another interface of the same container.
    pub(super) fn first_of(&self, attachment: &Attachment) -> Option<Attachment> {
        let all = self.lock();
        let mut others = all.keys().filter(|known| known.container == attachment.container);
        others.find(|known| *known != attachment).cloned()
    }

    /// Those of a network that are not among the valid ones.
    pub(super) fn others(&self, network: &str, valid: &[Attachment]) -> Vec<Attachment> {
        let all = self.lock();
        let gone = all.values().filter(|wiring| wiring.is_gone(network, valid));
        gone.map(|wiring| wiring.attachment.clone()).collect()
    }

    pub(super) fn insert(&self, wiring: &Wiring) -> io::Result<()> {
        self.records.write(wiring)?;
        self.lock().insert(wiring.attachment.clone(), wiring.clone());
        Ok(())
    }

    pub(super) fn remove(&self, attachment: &Attachment) -> io::Result<Option<Wiring>> {
        self.records.remove(attachment)?;
        Ok(self.lock().remove(attachment))
    }
}

/// The namespaces that have a name.
fn namespaces(dir: &Path) -> BTreeSet<NetnsId> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| fs::metadata(entry.path()).ok());
    files.map(|file| NetnsId { dev: file.dev(), ino: file.ino() }).collect()
}
