//! The archive a kernel unpacks at boot (format "newc", Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fmt::Write as _;

/// Writes files and folders, in the order they are added.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

impl Archive {
    /// `path` without a leading slash; parents first.
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[]);
    }

    /// An executable file.
    pub(super) fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, PROGRAM, contents);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(END, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).expect("a guest's file is smaller than 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("a guest's path is short");
        // Magic; inode, mode, uid, gid, links, time, size, device (2), special device (2), name size, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            write!(header, "{field:08x}").expect("writing to a string cannot fail");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.program("init", b"12345");
        let bytes = archive.finish();
        // 110 bytes of header, "dev\0" ends at 114, padded to 116: the next header begins there.
        assert_eq!(&bytes[116..122], b"070701");
        // "init\0" ends at 116 + 115 = 231, padded to 232.
        assert_eq!(&bytes[232..237], b"12345");
        assert_eq!(bytes.len() % 4, 0);
    }
}
