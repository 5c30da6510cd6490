//! Clients of a TCP listener, each answered by a task of its own.

use std::time::Duration;

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// Clients at a time; others wait. Without an end to them a process of the node could use up the agent's open files.
const AT_A_TIME: usize = 64;
/// No connection can be taken at the moment: as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the future is dropped, and with it all clients. `who` they are is for the log.
pub(crate) async fn each<F>(listener: TcpListener, who: &'static str, client: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= AT_A_TIME {
            clients.join_next().await;
        }
        while clients.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.spawn(client(stream));
            }
            Err(error) => {
                tracing::debug!(%error, who, "a client that was not taken");
                sleep(PAUSE).await;
            }
        }
    }
}
