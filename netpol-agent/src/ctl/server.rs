//! Answers `netpolctl`.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinSet, block_in_place},
    time::timeout,
};

use super::{
    api::{FlowsRequest, Request, Response},
    socket::Socket,
    state::State,
};
use crate::flow::Followed;

/// Longer requests are refused, in bytes with the line break; the longest real ones hold manifests.
pub(super) const MAX_REQUEST: usize = 8 << 20;
/// So long a client whose request is refused may go on sending it: the refusal can be read by one that has not been hung up on.
const PARTING: Duration = Duration::from_secs(5);

/// Serves until the future is dropped; connections end with it.
///
/// # Errors
/// If no connection can be taken any more.
pub async fn serve<S: State>(socket: Socket, state: Arc<S>) -> io::Result<()> {
    let (listener, _file) = socket.listen()?;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let state = state.clone();
                clients.spawn(async move { client(stream, &*state).await });
            }
            Some(ended) = clients.join_next() => match ended {
                Ok(Ok(())) => {}
                // Hanging up is how a client stops following.
                Ok(Err(e)) => tracing::debug!(error = %e, "a client of the control socket"),
                Err(e) => tracing::error!(error = %e, "answering a client of the control socket"),
            },
        }
    }
}

async fn client<S: State>(stream: UnixStream, state: &S) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        (&mut reader).take(MAX_REQUEST as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() == MAX_REQUEST && !line.ends_with(b"\n") {
            drop(line);
            return refuse(reader, writer).await;
        }
        let answer = match serde_json::from_slice(&line) {
            Err(e) => Response::Error(format!("not a request: {e}")),
            Ok(Request::Flows(request)) => {
                flows(&request, state, &mut reader, &mut writer).await?;
                continue;
            }
            Ok(Request::Status) => Response::Status(Box::new(state.status().await)),
            Ok(Request::Endpoints) => Response::Endpoints(state.endpoints()),
            Ok(Request::Policies) => Response::Policies(state.policies()),
            Ok(Request::Services) => Response::Services(state.services()),
            Ok(Request::Metrics) => Response::Metrics(state.metrics()),
            Ok(Request::Check) => Response::Checked(Box::new(state.check().await)),
            Ok(Request::Why(subject)) => match state.why(&subject) {
                Some(findings) => Response::Findings(findings),
                None => Response::Error(format!("there is no {}", subject.object())),
            },
            Ok(Request::Explain(request)) => match state.explain(&request) {
                Ok(explanation) => Response::Explanation(Box::new(explanation)),
                Err(e) => Response::Error(e.to_string()),
            },
            Ok(Request::Simulate(request)) => match block_in_place(|| state.simulate(&request)) {
                Ok(simulated) => Response::Simulated(Box::new(simulated)),
                Err(e) => Response::Error(e.to_string()),
            },
            Ok(Request::Suggest(request)) => match block_in_place(|| state.suggest(&request)) {
                Ok(suggested) => Response::Suggested(Box::new(suggested)),
                Err(e) => Response::Error(e.to_string()),
            },
        };
        send(&mut writer, &answer).await?;
    }
}

/// Says that a request is too long and hangs up: where it ends, and another one begins, is not looked for.
async fn refuse(mut reader: BufReader<OwnedReadHalf>, mut writer: OwnedWriteHalf) -> io::Result<()> {
    let why = format!("a request has at most {} MiB, and this one is longer", MAX_REQUEST >> 20);
    send(&mut writer, &Response::Error(why)).await?;
    writer.shutdown().await?;
    let rest = async {
        loop {
            match reader.fill_buf().await?.len() {
                0 => return Ok(()),
                read => reader.consume(read),
            }
        }
    };
    timeout(PARTING, rest).await.unwrap_or(Ok(()))
}

async fn flows<S: State>(
    request: &FlowsRequest,
    state: &S,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let FlowsRequest { filter, last, follow } = request;
    if !follow {
        for record in state.flows().recent(filter, *last) {
            send(writer, &Response::Flow(Box::new((*record).clone()))).await?;
        }
        return send(writer, &Response::End).await;
    }
    let mut follower = state.flows().follow(filter.clone(), *last);
    loop {
        tokio::select! {
            next = follower.next() => match next {
                Some(Followed::Record(record)) => {
                    send(writer, &Response::Flow(Box::new((*record).clone()))).await?;
                }
                Some(Followed::Lost(count)) => send(writer, &Response::Lost(count)).await?,
                Some(Followed::Missed(count)) => send(writer, &Response::Missed(count)).await?,
                None => return send(writer, &Response::End).await,
            },
            // Nothing but the end is expected from somebody who follows.
            said = reader.fill_buf() => {
                let bytes = said?.len();
                return if bytes == 0 { Ok(()) } else { Err(io::Error::other("a request while following")) };
            }
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
