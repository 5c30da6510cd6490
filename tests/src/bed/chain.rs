//! Runs a list of CNI plugins as a container runtime does (CNI specification, "Network configuration lists"): each gets what the one
//! before has made, ADD from the first to the last, DEL the other way.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Netns, Node, cni::plugins, fabric::set_host_sysctls, program};

/// A list of plugins, on a node.
#[derive(Clone, Debug)]
pub struct Chain {
    /// `cniVersion`
    pub version: String,
    /// Each as in the list.
    pub plugins: Vec<Value>,
    /// What the runtime adds to each plugin's object (`runtimeConfig`, `args` …).
    pub added: Value,
}

/// Whom a chain is called for.
#[derive(Clone, Debug)]
pub struct Container {
    /// `CNI_CONTAINERID`
    pub id: String,
    /// `CNI_NETNS`
    pub netns: PathBuf,
    /// `CNI_IFNAME`
    pub ifname: String,
    /// `CNI_ARGS`
    pub args: String,
}

impl Container {
    /// Of a Pod, with its UID.
    #[must_use]
    pub fn of(namespace: &str, name: &str, uid: &str, id: &str, netns: &Path) -> Self {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID={uid}"
        );
        Self { id: id.to_owned(), netns: netns.to_owned(), ifname: "eth0".to_owned(), args }
    }
}

/// A network namespace as a runtime makes one for a pod, with the bed's settings (no waiting for duplicate addresses).
///
/// # Errors
/// If there is one with this name, or the kernel refuses.
pub fn sandbox(node: &Node, id: &str) -> Result<Netns> {
    let netns = Netns::create(id, &node.netns_dir().join(id))?;
    set_host_sysctls(&netns)?;
    netns.ip(&["link set lo up".to_owned()])?;
    Ok(netns)
}

/// What a chain has come to.
#[derive(Clone, Debug)]
pub struct Called {
    /// What the last plugin said; `null` if nothing.
    pub result: Value,
    /// How long each plugin took.
    pub took: Vec<Duration>,
}

impl Chain {
    /// Carries out a command. `previous`: what ADD came to, for CHECK and DEL.
    ///
    /// # Errors
    /// If a plugin fails: with its name, and what it said.
    pub fn call(&self, node: &Node, command: &str, to: &Container, previous: &Value) -> Result<Called> {
        let mut order: Vec<&Value> = self.plugins.iter().collect();
        if command == "DEL" {
            order.reverse();
        }
        let mut called = Called { result: previous.clone(), took: Vec::new() };
        for plugin in order {
            let began = Instant::now();
            let result = self.call_one(node, plugin, command, to, &called.result)?;
            called.took.push(began.elapsed());
            if command == "ADD" {
                called.result = result;
            }
        }
        Ok(called)
    }

    /// Calls one plugin of the list.
    ///
    /// # Errors
    /// If it fails: with its name, and what it said.
    pub fn call_one(
        &self,
        node: &Node,
        plugin: &Value,
        command: &str,
        to: &Container,
        previous: &Value,
    ) -> Result<Value> {
        let mut config = plugin.clone();
        config["cniVersion"] = json!(self.version);
        if config["name"].is_null() {
            config["name"] = json!("bed");
        }
        if !previous.is_null() {
            config["prevResult"] = previous.clone();
        }
        for (key, value) in self.added.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let name = plugin["type"].as_str().context("a plugin without type")?;
        let path = match name {
            netpol_cni::TYPE => program(name)?,
            name => plugins().join(name),
        };
        let output = node
            .netns
            .enter(|| run(&path, command, to, &config.to_string()))
            .with_context(|| format!("{name} {command}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            bail!("{name} {command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        match output.stdout.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice(&output.stdout).with_context(|| format!("{name} {command}")),
        }
    }
}

fn run(path: &Path, command: &str, to: &Container, config: &str) -> Result<std::process::Output> {
    let mut child = Command::new(path)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &to.id)
        .env("CNI_NETNS", &to.netns)
        .env("CNI_IFNAME", &to.ifname)
        .env("CNI_ARGS", &to.args)
        .env("CNI_PATH", plugins())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| path.display().to_string())?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(config.as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?)
}
