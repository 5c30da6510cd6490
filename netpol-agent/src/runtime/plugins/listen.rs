use std::{io, sync::Arc};

use netpol_cni::protocol::{Answer, MAX_LINE};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    task::JoinSet,
};

use super::{Desk, Shared};
use crate::ctl::Socket;

/// Serves until the future is dropped. A plugin that is killed while it waits ends its connection, not what it began.
pub(super) async fn run(socket: Socket, desk: Arc<Desk>, shared: Shared) -> io::Result<()> {
    let (listener, _file) = socket.listen()?;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let (desk, shared) = (desk.clone(), shared.clone());
                clients.spawn(async move { client(stream, &desk, &shared).await });
            }
            Some(ended) = clients.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a CNI plugin"),
                Err(error) => tracing::error!(%error, "answering a CNI plugin"),
            },
        }
    }
}

async fn client(stream: UnixStream, desk: &Desk, shared: &Shared) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    BufReader::new(reader.take(MAX_LINE)).read_until(b'\n', &mut line).await?;
    let answer = match serde_json::from_slice(&line) {
        Ok(request) => desk.answer(request, shared).await,
        Err(error) => Answer::Refused(format!("not a request of this agent's version: {error}")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
