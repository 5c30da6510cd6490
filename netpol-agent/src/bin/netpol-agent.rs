//! The node agent. See `netpol-agent help`.

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use netpol_agent::{
    config::{Cli, Command},
    dataplane::kernel,
    runtime,
};
use tracing_subscriber::EnvFilter;

pub(crate) fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netpol-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => {
            let filter = EnvFilter::try_new(&args.log).context("--log")?;
            let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
            log.with_ansi(stderr().is_terminal()).init();
            kernel::give_back_what_is_free();
            Ok(runtime::run(&args)?)
        }
        Command::Cleanup(args) => kernel::cleanup(&args.pin_dir).context("cleanup is not complete"),
    }
}
