//! Asks the agent.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::{
    SOCKET,
    protocol::{Answer, MAX_LINE, Request},
};

/// Beyond the time that the agent itself is given.
const GRACE: Duration = Duration::from_secs(1);

/// The agent has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// Nobody listens.
    #[error("no netpol-agent listens at {0}: is it running on this node?")]
    Away(String),
    /// It does not answer in time, or not in a way that makes sense.
    #[error("netpol-agent at {path}: {source}")]
    Broken {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Sends a request and waits for its answer, for `patience` and a bit more.
pub(crate) fn ask(dir: &Path, request: &Request, patience: Duration) -> Result<Answer, AgentError> {
    let socket = dir.join(SOCKET);
    let path = socket.display().to_string();
    let stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(AgentError::Away(path));
        }
        Err(source) => return Err(AgentError::Broken { path, source }),
    };
    exchange(stream, request, patience + GRACE).map_err(|source| AgentError::Broken { path, source })
}

fn exchange(stream: UnixStream, request: &Request, patience: Duration) -> io::Result<Answer> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = Vec::new();
    match BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut answer) {
        Ok(0) => Err(io::Error::other("it has hung up")),
        Ok(_) => Ok(serde_json::from_slice(&answer)?),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::other(format!("no answer within {patience:?}")))
        }
        Err(error) => Err(error),
    }
}
