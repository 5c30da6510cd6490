//! Asks an agent. Blocking: `netpolctl` has nothing else to do.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::api::{Request, Response};

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent listens at {}: is netpol-agent running?", .0.display())]
    NoAgent(PathBuf),
    /// The socket is another user's, and another group's.
    #[error("{} may not be opened: netpolctl must run as the user of netpol-agent, usually root, or in the file's group", .0.display())]
    Forbidden(PathBuf),
    /// The connection broke.
    #[error("talking to the agent at {}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent has ended or hung up.
    #[error("the agent at {} has hung up", .0.display())]
    HungUp(PathBuf),
    /// The agent speaks another version.
    #[error("the agent at {} gives an answer that this netpolctl does not understand ({source}): are both of one version?", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What was wrong with it.
        source: serde_json::Error,
    },
    /// The agent cannot answer: why.
    #[error("{0}")]
    Refused(String),
    /// The answer belongs to another question.
    #[error("the agent at {} answered something else", .0.display())]
    OtherAnswer(PathBuf),
}

impl Client {
    /// Connects to the agent at `path`.
    ///
    /// # Errors
    /// If nobody listens there, or the socket is forbidden.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let path = path.to_owned();
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Self { path, stream: BufReader::new(stream) }),
            Err(e) => Err(match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent(path),
                io::ErrorKind::PermissionDenied => ClientError::Forbidden(path),
                _ => ClientError::Broken { path, source: e },
            }),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|e| self.broken(e.into()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|e| self.broken(e))
    }

    /// Waits for the next line of the answer.
    ///
    /// # Errors
    /// If the connection breaks or ends, if the line makes no sense, or if the agent cannot answer.
    pub fn receive(&mut self) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        let length = self.stream.read_until(b'\n', &mut line).map_err(|e| self.broken(e))?;
        if length == 0 {
            return Err(ClientError::HungUp(self.path.clone()));
        }
        match serde_json::from_slice(&line) {
            Ok(Response::Error(why)) => Err(ClientError::Refused(why)),
            Ok(response) => Ok(response),
            Err(source) => Err(ClientError::NotUnderstood { path: self.path.clone(), source }),
        }
    }

    /// Sends a request that has one answer, and takes from it what is expected.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::receive`], and if `expected` does not find what it looks for.
    pub fn ask<T>(
        &mut self,
        request: &Request,
        expected: impl FnOnce(Response) -> Option<T>,
    ) -> Result<T, ClientError> {
        self.send(request)?;
        expected(self.receive()?).ok_or_else(|| self.other_answer())
    }

    /// For an answer that does not belong to the question.
    #[must_use]
    pub fn other_answer(&self) -> ClientError {
        ClientError::OtherAnswer(self.path.clone())
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { path: self.path.clone(), source }
    }
}
