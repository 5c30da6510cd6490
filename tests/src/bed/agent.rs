//! Agents as real processes, one per node.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::ctl::api::Status;

use super::{Bed, Node, Source, api::has_heard, dir::Process};
use crate::flows::status;

const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const POLL_MOST: Duration = Duration::from_millis(100);
const WITH_FAULT_POINTS: &str = "netpol-agent-faults";
const FAULT_POINTS_BUILD: &str =
    "cargo build -p netpol-agent --features fault-points --bin netpol-agent-faults";

/// How to run the agents of a bed.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Further arguments of `netpol-agent run`.
    pub arguments: Vec<String>,
    /// Runs the build with fault points: as soon as this file is there, the agent carries out as many more operations on
    /// the dataplane as it says, and kills itself before the next.
    pub fault_point: Option<PathBuf>,
    /// Runs the build with fault points as an agent of this version of the maps: it has a folder of pins of its own, and takes those of
    /// any other version for another's.
    pub version: Option<u32>,
    /// Where the objects come from.
    pub source: Source,
}

/// The agent of a node.
#[derive(Debug)]
pub struct Agent {
    /// Its node.
    pub node: String,
    child: Child,
    /// Where `netpolctl` finds it.
    pub socket: PathBuf,
    log: PathBuf,
}

/// A program that was built together with this one.
///
/// # Errors
/// If it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let here = env::current_exe()?;
    // Tests lie in `deps/`, one folder below the binaries.
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "{name} is not beside {}: build it first (cargo xtask build, or cargo build -p netpol-agent)",
            here.display()
        )
    })
}

impl Agent {
    fn start(bed: &Bed, node: &Node, kubeconfig: Option<&Path>, options: &AgentOptions) -> Result<Self> {
        let folder = &node.folder;
        let (socket, log) = (folder.join("agent.sock"), folder.join("agent.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let AgentOptions { fault_point, version, arguments, source: _ } = options;
        let mut command = match (fault_point, version) {
            (None, None) => Command::new(program("netpol-agent")?),
            _ => Command::new(program(WITH_FAULT_POINTS).context(FAULT_POINTS_BUILD)?),
        };
        command.envs(fault_point.iter().map(|file| ("NETPOL_FAULT_POINT", file)));
        command.envs(version.iter().map(|version| ("NETPOL_ABI_VERSION", version.to_string())));
        command
            .args(["run", "--node", &node.name, "--netns-dir"])
            .arg(node.netns_dir())
            .arg("--pin-dir")
            .arg(pin_dir(node))
            .arg("--socket")
            .arg(&socket)
            .arg("--cni-dir")
            .arg(node.folder.join("plugin"));
        match kubeconfig {
            Some(file) => command.arg("--source=kube").arg("--kubeconfig").arg(file),
            None => command.arg("--source").arg(format!("dir:{}", bed.manifests().display())),
        };
        // Never the machine's own processes.
        match bed.cgroup() {
            Some(cgroup) => command.arg("--cgroup").arg(cgroup),
            None => command.arg("--node-services=off"),
        };
        command.args(arguments).stdin(std::process::Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = node.netns.enter(|| command.spawn().context("starting netpol-agent"))?;
        Process::of(child.id().try_into()?)?.write(&folder.join("agent.pid"))?;
        Ok(Self { node: node.name.clone(), child, socket, log })
    }

    /// What it wrote, for messages.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|e| format!("{}: {e}", self.log.display()))
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// If it is not, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = self.log();
            let tail = log.lines().rev().take(20).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            bail!("the agent of {} ended ({status}):\n{tail}", self.node);
        }
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop).context("waiting for the agent")
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the agent of {} does not end on SIGTERM", self.node);
            thread::sleep(POLL);
        }
    }

    /// Leaves the process to itself.
    pub(super) fn release(self) {
        // A `Child` that is forgotten is neither killed nor waited for.
        std::mem::forget(self);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(e) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ending the agent of {}: {e}", self.node);
        }
    }
}

/// Where the agent of a node pins its maps and links.
pub(super) fn pin_dir(node: &Node) -> PathBuf {
    node.folder.join("bpf").join("netpol")
}

impl Bed {
    /// Starts an agent on each node, without waiting for it.
    ///
    /// # Errors
    /// If it is not built or does not start.
    pub fn start_agents(&mut self, options: &AgentOptions) -> Result<()> {
        let names: Vec<_> = self.nodes().iter().map(|n| n.name.clone()).collect();
        names.iter().try_for_each(|node| self.start_agent(node, options))
    }

    /// Starts the agent of one node, without waiting for it.
    ///
    /// # Errors
    /// If it is not built or does not start.
    pub fn start_agent(&mut self, node: &str, options: &AgentOptions) -> Result<()> {
        let kubeconfig = match options.source {
            Source::Folder => None,
            Source::Server => Some(self.kubeconfig(node)?),
        };
        let agent = Agent::start(self, self.node(node)?, kubeconfig.as_deref(), options)?;
        self.agents.push(agent);
        Ok(())
    }

    /// Takes the agent of a node out of the bed's hands, to end it in some way.
    ///
    /// # Errors
    /// If there is none.
    pub fn take_agent(&mut self, node: &str) -> Result<Agent> {
        let at = self.agents.iter().position(|a| a.node == node);
        Ok(self.agents.swap_remove(at.with_context(|| format!("{node} has no agent"))?))
    }

    /// The running agents.
    #[must_use]
    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// Waits until every agent has put in force what the folder of manifests says, for all pods of its node.
    ///
    /// # Errors
    /// If one ends or takes longer than `patience`.
    pub fn await_agents(&mut self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        let deadline = begun + patience;
        for agent in &mut self.agents {
            let pods = self.pods.values().filter(|p| p.node == agent.node && !p.wish.host_network).count();
            loop {
                agent.check()?;
                let state = match status(agent) {
                    Ok(status)
                        if status.in_sync
                            && status.endpoints.ready == pods
                            && has_heard(self.api.as_ref(), &status) =>
                    {
                        break;
                    }
                    Ok(status) => format!("{pods} pods, {status:?}"),
                    Err(e) => format!("{e:#}"),
                };
                ensure!(
                    Instant::now() < deadline,
                    "the agent of {} is not in sync: {state}\n{}",
                    agent.node,
                    agent.log()
                );
                // Each answer costs the agent something: what takes long is known to a hundredth.
                thread::sleep((begun.elapsed() / 100).clamp(POLL, POLL_MOST));
            }
        }
        Ok(())
    }

    /// Waits until every agent says that it is in sync with the folder of manifests, until `deadline` at most: some
    /// things it can be asked for cannot be put in force.
    pub fn await_sync(&self, deadline: Instant) {
        for agent in &self.agents {
            let is_done = |status: &Status| status.in_sync && has_heard(self.api.as_ref(), status);
            while Instant::now() < deadline && !status(agent).is_ok_and(|status| is_done(&status)) {
                thread::sleep(POLL);
            }
        }
    }

    /// Runs `netpol-agent cleanup` on a node.
    ///
    /// # Errors
    /// If it fails.
    pub fn clean_up_node(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        let mut command = Command::new(program("netpol-agent")?);
        let output = node.netns.output(command.arg("cleanup").arg("--pin-dir").arg(pin_dir(node)))?;
        ensure!(
            output.status.success(),
            "netpol-agent cleanup: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
