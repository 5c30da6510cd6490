//! The socket's file.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// Where agent and `netpolctl` meet unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/netpol/netpol.sock";

/// Clients that may wait for the server to take them.
const BACKLOG: i32 = 64;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent answers there.
    #[error("another agent listens at {}", .0.display())]
    Taken(PathBuf),
    /// Something else than a socket has the name.
    #[error("{} is there, and no socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("cannot {action} {}", path.display())]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The socket or its folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Who may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The user alone that the agent runs as: mode 0600.
    Owner,
    /// The file's group as well: mode 0660.
    Group,
}

/// A listening socket. Its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: File,
}

/// The socket's name in the file system.
#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), error = %e, "the socket's file was gone already");
        }
    }
}

impl Socket {
    /// Listens at `path`, for these (`who`) and nobody else at any moment. Makes the folder if need be, and takes the
    /// place of a socket that nobody listens at any more.
    ///
    /// # Errors
    /// If somebody listens there, or the system refuses.
    pub fn bind(path: &Path, who: Audience) -> Result<Self, SocketError> {
        let refused = |action: &'static str, source: io::Error| SocketError::Refused {
            action,
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|e| refused("make the folder of", e))?;
        }
        make_way(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| refused("make a socket for", e.into()))?;
        // Linux gives the file the mode that the socket has when it is bound, less the umask: there is no moment at which others
        // may open it.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|e| refused("protect", e.into()))?;
        let address = SocketAddrUnix::new(path).map_err(|e| refused("listen at", e.into()))?;
        bind(&socket, &address).map_err(|e| refused("listen at", e.into()))?;
        let file = File(path.to_owned());
        if who == Audience::Group {
            fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(|e| refused("protect", e))?;
        }
        listen(&socket, BACKLOG).map_err(|e| refused("listen at", e.into()))?;
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(|e| refused("listen at", e))?;
        Ok(Self { listener, file })
    }
}

impl Socket {
    /// For a task that takes connections, and what keeps the file.
    pub(crate) fn listen(self) -> io::Result<(tokio::net::UnixListener, impl Drop)> {
        let Self { listener, file } = self;
        Ok((tokio::net::UnixListener::from_std(listener)?, file))
    }
}

/// Removes a socket that an agent left behind.
fn make_way(path: &Path) -> Result<(), SocketError> {
    let refused = |action, source| SocketError::Refused { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(refused("look at", e)),
        Ok(meta) if !meta.file_type().is_socket() => Err(SocketError::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(SocketError::Taken(path.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|e| refused("remove the abandoned", e))
            }
            Err(e) => Err(refused("try", e)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_its_audiences_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/netpol.sock");
        for (who, mode) in [(Audience::Owner, 0o600), (Audience::Group, 0o660)] {
            let socket = Socket::bind(&path, who).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            let taken = Socket::bind(&path, who).unwrap_err();
            assert!(matches!(taken, SocketError::Taken(_)), "{taken}");
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn an_abandoned_socket_gives_way_and_a_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netpol.sock");
        // As a killed agent leaves it: the file without a listener.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Socket::bind(&path, Audience::Owner).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path, Audience::Owner), Err(SocketError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
