use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::SystemTime,
};

use super::FileOptions;

/// A file that makes way for a new one when it is large or old.
pub(crate) struct RotatingFile {
    options: FileOptions,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Bytes of whole batches.
    length: u64,
    begun: SystemTime,
}

impl RotatingFile {
    pub(crate) fn new(options: FileOptions) -> Self {
        Self { options, open: None }
    }

    /// Writes whole lines, or nothing: what a full disk took of them is taken back.
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_due(lines.len() as u64)? {
            self.rotate()?;
        }
        let open = self.current()?;
        if let Err(error) = open.file.write_all(lines) {
            let (file, length) = (&open.file, open.length);
            if let Err(undo) = file.set_len(length) {
                tracing::debug!(error = %undo, "half a line stays in the file of flow records");
            }
            self.open = None;
            return Err(error);
        }
        open.length += lines.len() as u64;
        Ok(())
    }

    fn is_due(&mut self, more: u64) -> io::Result<bool> {
        // Somebody may have taken it away.
        if self.open.is_some() && !self.options.path.exists() {
            self.open = None;
        }
        let FileOptions { max_bytes, max_age, .. } = self.options;
        let open = self.current()?;
        let age = open.begun.elapsed().unwrap_or_default();
        Ok(open.length > 0 && (open.length + more > max_bytes || age >= max_age))
    }

    fn current(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let options = OpenOptions::new().create(true).append(true).mode(0o600).clone();
            let file = options.open(&self.options.path)?;
            let meta = file.metadata()?;
            // Where the file system does not know, its age counts from now on.
            let begun = meta.created().unwrap_or_else(|_unknown| SystemTime::now());
            self.open = Some(Open { file, length: meta.len(), begun });
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("no file"))
    }

    /// `flows.2` becomes `flows.3`, `flows.1` `flows.2`, and so on; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.options.keep == 0 {
            return fs::remove_file(&self.options.path);
        }
        for number in (1..self.options.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.options.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.options.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}
