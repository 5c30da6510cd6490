//! Clients that choose their own address and port, and ask over connections that stay open.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netpol_tests::{bed::Netns, serve::Reply};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(10);

pub(crate) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}})
}

/// A pod with the label `app` of its own name.
pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 8080}, {"containerPort": 8080, "protocol": "UDP"},
        ]}]},
    })
}

/// Port 80 and `node_port` of a Service lead to the pods with the label `app`.
pub(crate) fn service(name: &str, app: &str, addresses: [&str; 2], node_port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
        "spec": {"type": "NodePort", "clusterIPs": addresses, "selector": {"app": app}, "ports": [
            {"name": "tcp", "port": 80, "targetPort": 8080, "nodePort": node_port},
            {"name": "udp", "port": 80, "targetPort": 8080, "nodePort": node_port, "protocol": "UDP"},
        ]},
    })
}

/// A socket from `from` to `to`, among others from the same port.
pub(crate) fn open(netns: &Netns, kind: Type, from: SocketAddr, to: SocketAddr) -> Result<Socket> {
    let socket = netns.socket(Domain::for_address(to), kind, None)?;
    socket.set_reuse_address(true)?;
    if kind == Type::DGRAM {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), ANSWER)?;
    socket.set_read_timeout(Some(ANSWER))?;
    Ok(socket)
}

/// Asks the pod `t/server`, and reads the answer to this very question, of `size` bytes and more.
pub(crate) fn ask(socket: &Socket, question: &str, server: &str, size: usize) -> Result<()> {
    (&*socket).write_all(format!("{question:<size$}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::with_capacity(65_536, socket).read_line(&mut line)?;
    let reply: Reply = serde_json::from_str(line.trim()).with_context(|| format!("{line:?}"))?;
    ensure!(reply.pod == server, "{} answers", reply.pod);
    ensure!(question.starts_with(&reply.nonce), "an answer to {:?} and not to {question:?}", reply.nonce);
    Ok(())
}

/// Another one for each way and round, and long enough to be told by its beginning, which the server repeats.
pub(crate) fn question(to: SocketAddr, round: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (to, round).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
