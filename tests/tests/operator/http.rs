//! Questions over HTTP, asked on a node.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result};
use netpol_tests::bed::Node;

/// Status, and everything behind the status line.
pub(crate) fn get(node: &Node, address: &str, path: &str) -> Result<(u16, String)> {
    let address: SocketAddr = address.parse()?;
    let mut stream = node.netns.enter(|| Ok(TcpStream::connect(address)?))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).with_context(|| format!("no status in {answer:?}"))?;
    Ok((status.parse()?, answer))
}
