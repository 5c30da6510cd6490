//! What the plugin has wired, in a folder that is gone when the machine starts anew, as the namespaces are. The agent writes it and
//! finds its pods in it after a restart; where no agent runs the plugin removes what has gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::protocol::{Attachment, Wiring};

/// The folder, with a file for each attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Records(PathBuf);

const FOLDER: &str = "pods";
const SUFFIX: &str = ".json";

impl Records {
    /// Those below the folder where agent and plugin meet.
    #[must_use]
    pub fn below(dir: &Path) -> Self {
        Self(dir.join(FOLDER))
    }

    /// All of them, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// If the folder cannot be read; one that is not there has none.
    pub fn read(&self) -> io::Result<(Vec<Wiring>, Vec<String>)> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(<_>::default()),
            Err(error) => return Err(error),
        };
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for entry in entries {
            let path = entry?.path();
            // What an agent was writing when it died.
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match fs::read(&path).map(|bytes| serde_json::from_slice::<Wiring>(&bytes)) {
                Ok(Ok(wiring)) if self.path(&wiring.attachment) == path => found.push(wiring),
                Ok(Ok(_)) => wrong.push(format!("{}: holds another attachment", path.display())),
                Ok(Err(error)) => wrong.push(format!("{}: {error}", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_unstable_by(|a, b| a.attachment.cmp(&b.attachment));
        Ok((found, wrong))
    }

    /// Writes one, whole or not at all.
    ///
    /// # Errors
    /// If the file system refuses, or the attachment's names are not valid.
    pub fn write(&self, wiring: &Wiring) -> io::Result<()> {
        check(&wiring.attachment)?;
        fs::create_dir_all(&self.0)?;
        let path = self.path(&wiring.attachment);
        let draft = path.with_extension("draft");
        fs::write(&draft, serde_json::to_vec(wiring)?)?;
        fs::rename(draft, path)
    }

    /// Removes one, if it is there.
    ///
    /// # Errors
    /// If the file system refuses, or the attachment's names are not valid.
    pub fn remove(&self, attachment: &Attachment) -> io::Result<()> {
        check(attachment)?;
        match fs::remove_file(self.path(attachment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes those of a network that are not valid any more.
    ///
    /// # Errors
    /// If the folder cannot be read, or a file not be removed.
    pub fn collect(&self, network: &str, valid: &[Attachment]) -> io::Result<()> {
        let (found, _) = self.read()?;
        let mut gone = found.iter().filter(|wiring| wiring.is_gone(network, valid));
        gone.try_for_each(|wiring| self.remove(&wiring.attachment))
    }

    /// A container's name has no `@`.
    fn path(&self, Attachment { container, ifname }: &Attachment) -> PathBuf {
        self.0.join(format!("{container}@{ifname}{SUFFIX}"))
    }
}

fn check(attachment: &Attachment) -> io::Result<()> {
    match attachment.is_valid() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no attachment: {attachment:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::NetnsId;

    fn wiring(container: &str, network: &str) -> Wiring {
        Wiring {
            attachment: Attachment { container: container.into(), ifname: "eth0".into() },
            network: network.into(),
            netns: NetnsId { dev: 4, ino: 7 },
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u1".into(),
            addresses: vec!["10.0.0.5".parse().unwrap()],
        }
    }

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::below(folder.path());
        assert_eq!(records.read().unwrap(), (vec![], vec![]), "no folder yet");
        let (a, b, other) = (wiring("a", "net"), wiring("b", "net"), wiring("c", "other"));
        for each in [&b, &a, &other] {
            records.write(each).unwrap();
        }
        assert_eq!(records.read().unwrap().0, [a.clone(), b, other.clone()]);
        records.collect("net", std::slice::from_ref(&a.attachment)).unwrap();
        assert_eq!(records.read().unwrap().0, [a.clone(), other.clone()], "another network's are not ours");
        records.remove(&a.attachment).unwrap();
        records.remove(&a.attachment).unwrap();
        assert_eq!(records.read().unwrap().0, [other]);
    }

    #[test]
    fn half_a_record_is_told_and_a_name_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::below(folder.path());
        records.write(&wiring("a", "net")).unwrap();
        let pods = folder.path().join(FOLDER);
        fs::copy(pods.join("a@eth0.json"), pods.join("b@eth0.json")).unwrap();
        fs::write(pods.join("c@eth0.json"), "{\"container\":").unwrap();
        fs::write(pods.join("d@eth0.draft"), "").unwrap();
        let (found, wrong) = records.read().unwrap();
        assert_eq!((found.len(), wrong.len()), (1, 2), "{wrong:?}");
        assert!(records.write(&wiring("../../a", "net")).is_err());
    }
}
