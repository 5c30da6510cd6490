//! Shows what the agent of this node knows. See `netpolctl help`.

use std::process::ExitCode;

use clap::Parser;
use netpol_agent::cli;

fn main() -> ExitCode {
    cli::main(&cli::Args::parse()).into()
}
