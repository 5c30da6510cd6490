//! Shows netpol at work, with real packets: `examples/web-shop` on two nodes. Every sentence that it prints was checked
//! just before; it fails at the first that is not true.

mod show;
mod story;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Parser;
use netpol_tests::bed::{Bed, program};

use story::Story;

/// Runs the web shop on two nodes, built from network namespaces, and shows who reaches whom.
#[derive(Parser)]
struct Arguments {
    /// Leave the cluster standing, to try things out.
    #[arg(long)]
    keep: bool,
    /// The folder with the shop's manifests.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/web-shop"))]
    examples: PathBuf,
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
    let arguments = Arguments::parse();
    let started = Instant::now();
    let examples =
        arguments.examples.canonicalize().with_context(|| arguments.examples.display().to_string())?;
    let mut story = Story::begin(&examples)?;
    story.a_service_spreads()?;
    story.it_survives_the_loss_of_a_pod()?;
    story.policies_say_who_reaches_whom()?;
    story.a_drop_names_its_policy()?;
    story.an_established_connection_is_revoked()?;
    story.it_can_be_asked()?;
    println!("\nEverything was as told, in {:.1} s.", started.elapsed().as_secs_f32());
    if arguments.keep { keep(story.into_bed()) } else { Ok(()) }
}

fn keep(bed: Bed) -> Result<()> {
    let folder = bed.folder().to_owned();
    let manifests = bed.manifests().to_owned();
    let socket = bed.agents().first().context("no agent")?.socket.clone();
    let (ask, ctl) = (program("bed")?, program("netpolctl")?);
    let holder = bed.keep(Command::new(&ask).arg("hold").arg(&folder))?;
    let (ask, ctl) = (shorten(&ask), shorten(&ctl));
    let (folder, socket) = (folder.display(), socket.display());
    let policy = manifests.join("networkpolicy.shop.database-ingress.yaml");
    println!(
        "
The cluster stands. Things to try:
  {ask} ask {folder} shop/frontend 10.96.15.20:80      # again and again: another web server each time
  {ask} ask {folder} other/random 10.244.1.10:8080     # the web servers are open to everybody
  {ctl} --socket {socket} status
  {ctl} --socket {socket} endpoints
  {ctl} --socket {socket} flows --follow
  {ctl} --socket {socket} explain other/random shop/database --port 5432
  $EDITOR {}      # every saved change is in force at once
  nsenter --net={folder}/nodes/node1/netns/cni-shop.frontend bash      # a shell in a pod's network

Remove it with:
  kill {holder}",
        policy.display()
    );
    Ok(())
}

/// Relative to where the user is, if that is shorter.
fn shorten(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    relative.unwrap_or(path).display().to_string()
}
