use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    fd::AsFd,
    net::{AddressFamily, SocketType, netdevice::name_to_index, socket},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// A network namespace of the calling thread's own, with interfaces for pods in it. It has no name and ends with the
/// thread.
#[derive(Debug)]
pub struct Interfaces {
    known: BTreeMap<String, u32>,
    uplink: u32,
}

impl Interfaces {
    /// Moves the calling thread into a new network namespace. Everything in it that asks the kernel for an interface must
    /// happen on this thread.
    ///
    /// # Errors
    /// Without the right to make network namespaces, or without the programs `unshare` and `ip`.
    pub fn enter() -> Result<Self> {
        // A thread that unshares by itself would need `unsafe`; a child can, and is followed.
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare (package util-linux)")?;
        let mut line = String::new();
        let out = child.stdout.take().context("the child's output")?;
        BufReader::new(out).read_line(&mut line).context("waiting for the new network namespace")?;
        let entered = (|| {
            ensure!(line == "\n", "unshare --net failed: this needs root");
            let namespace = File::open(format!("/proc/{}/ns/net", child.id()))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        })();
        drop(child.stdin.take());
        child.wait().context("waiting for unshare")?;
        entered.context("entering a new network namespace")?;
        let mut made = Self { known: BTreeMap::new(), uplink: 0 };
        made.uplink = made.interface("uplink")?;
        Ok(made)
    }

    /// The interface that packets from other nodes come in by.
    #[must_use]
    pub fn uplink(&self) -> u32 {
        self.uplink
    }

    /// The interface for whatever has this name: the one end of a veth pair, made at the first call.
    ///
    /// # Errors
    /// If the kernel refuses to make it.
    pub fn interface(&mut self, owner: &str) -> Result<u32> {
        if let Some(ifindex) = self.known.get(owner) {
            return Ok(*ifindex);
        }
        let name = format!("pod{}", self.known.len());
        let peer = format!("in{}", self.known.len());
        let output = Command::new("ip")
            .args(["link", "add", &name, "type", "veth", "peer", "name", &peer])
            .output()
            .context("ip (package iproute2)")?;
        std::io::stderr().write_all(&output.stderr)?;
        ensure!(output.status.success(), "ip link add {name} for {owner} failed");
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let ifindex = name_to_index(&any, &name).with_context(|| format!("index of {name}"))?;
        self.known.insert(owner.to_owned(), ifindex);
        Ok(ifindex)
    }
}
