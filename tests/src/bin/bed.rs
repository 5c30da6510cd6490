//! Looks after test beds that were left standing.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use netpol_tests::{
    bed::{Netns, hold},
    probe::{Attempt, MIN_SIZE, Outcome, Protocol},
};

/// Looks after a test bed that was left standing.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Serves in the pods of a bed, until it is told to end: then it takes the bed down.
    Hold {
        /// The bed's folder.
        folder: PathBuf,
    },
    /// Tries out a connection.
    Ask {
        /// The bed's folder.
        folder: PathBuf,
        /// A pod (namespace/name) or a node.
        from: String,
        /// Address and port.
        to: SocketAddr,
        /// Speak UDP instead of TCP.
        #[arg(long)]
        udp: bool,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        What::Hold { folder } => hold(&folder),
        What::Ask { folder, from, to, udp } => {
            ask(&folder, &from, to, if udp { Protocol::Udp } else { Protocol::Tcp })
        }
    }
}

fn ask(folder: &Path, from: &str, to: SocketAddr, protocol: Protocol) -> Result<()> {
    let netns = Arc::new(Netns::open(from, &namespace(folder, from)?)?);
    let attempt = Attempt { from: netns, protocol, to, size: MIN_SIZE, timeout: Duration::from_secs(2) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(attempt.make()).1 {
        Outcome::Answered(Some(reply)) => {
            println!("{to}: answered by {}, which saw {}", reply.pod, reply.peer)
        }
        Outcome::Answered(None) | Outcome::Status(_) => println!("{to}: answered"),
        Outcome::Refused(why) | Outcome::Broken(why) => bail!("{to}: {why}"),
        Outcome::Silent => bail!("{to}: no answer"),
    }
    Ok(())
}

/// The file that holds the network of a pod or node.
fn namespace(folder: &Path, name: &str) -> Result<PathBuf> {
    let nodes = folder.join("nodes");
    let node = nodes.join(name).join("node.ns");
    if node.exists() {
        return Ok(node);
    }
    let pod = format!("cni-{}", name.replace('/', "."));
    let entries = nodes.read_dir().with_context(|| format!("{}: not a bed", folder.display()))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path().join("netns").join(&pod));
    paths.into_iter().find(|path| path.exists()).with_context(|| format!("{name}: no such pod or node"))
}
