//! One agent for a network namespace, whatever pin directory it has: two would put their programs on the same interfaces.

use std::{io, path::Path, thread, time::Duration};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, shutdown,
        socket_with, sockopt::socket_peercred,
    },
};

use super::{PinError, pins::failed};

/// The name of an abstract socket, which belongs to the network namespace and goes with the process (unix(7)).
const NAME: &str = "netpol-agent";
/// How often, and how many times, a name is tried that nobody answers to any more.
const PAUSE: Duration = Duration::from_millis(10);
const TRIES: u32 = 100;

/// Held as long as this agent serves the network namespace.
pub(super) struct Only(OwnedFd);

impl Drop for Only {
    /// A child that another thread has forked and that has not come to its exec(2) yet has the descriptor too, and the name with it.
    /// Whoever comes next is to see that nobody answers to it.
    fn drop(&mut self) {
        if let Err(error) = shutdown(&self.0, Shutdown::Both) {
            tracing::debug!(%error, "the socket that stands for this agent");
        }
    }
}

impl Only {
    /// Of the network namespace of the calling thread.
    pub(super) fn claim() -> Result<Self, PinError> {
        let refused = |call, error: Errno| failed(Path::new("@netpol-agent"), call, io::Error::from(error));
        let address = SocketAddrUnix::new_abstract_name(NAME.as_bytes());
        let address = address.map_err(|error| refused("name the socket", error))?;
        let socket = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(|error| refused("make the socket", error))
        };
        for _ in 0..TRIES {
            let own = socket()?;
            match bind(&own, &address) {
                Ok(()) => {
                    listen(&own, 1).map_err(|error| refused("listen on the socket", error))?;
                    return Ok(Self(own));
                }
                Err(Errno::ADDRINUSE) => {}
                Err(error) => return Err(refused("bind the socket", error)),
            }
            let question = socket()?;
            match connect(&question, &address) {
                Ok(()) => {
                    let pid = socket_peercred(&question).map_or(0, |peer| peer.pid.as_raw_nonzero().get());
                    return Err(PinError::Second { pid });
                }
                // It lets nobody wait any more, and so it is there.
                Err(Errno::WOULDBLOCK) => return Err(PinError::Second { pid: 0 }),
                Err(_) => thread::sleep(PAUSE),
            }
        }
        Err(PinError::Second { pid: 0 })
    }
}
