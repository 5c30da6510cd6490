//! Shows a request's whole way: `examples/journey`, with real nginx and a real DNS server in pods. Every sentence that it
//! prints was checked just before; it fails at the first that is not true.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Parser;
use netpol_tests::{
    bed::Family,
    journey::{Journey, Sentence},
};

/// Follows requests from outside and from pods through nginx, DNS and Services to the pods that answer.
#[derive(Parser)]
struct Arguments {
    /// The folder with manifests and the servers' configuration.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/journey"))]
    examples: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let mut journey = Journey::begin(&arguments.examples)?;
    chapter("Two nodes, an agent on each, default deny in every namespace", journey.cast());
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        chapter(
            &format!("A client outside asks nginx, {name}"),
            journey.through_the_ingress_controller(family)?,
        );
        chapter(&format!("Pods ask by name, {name}"), journey.by_name(family)?);
    }
    println!("\nEverything was as told, in {:.1} s.", started.elapsed().as_secs_f32());
    Ok(())
}

fn chapter(title: &str, sentences: Vec<Sentence>) {
    println!("\n{title}");
    for sentence in sentences {
        println!("   {sentence}");
    }
}
