//! The node agent. See `netpol-agent help`.

use anyhow::{Context, Result};
use clap::Parser;
use netpol_agent::{
    config::{Cli, Command},
    dataplane::kernel,
    runtime,
};
use tracing_subscriber::EnvFilter;

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => {
            let filter = EnvFilter::try_new(&args.log).context("--log")?;
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
            Ok(runtime::run(&args)?)
        }
        Command::Cleanup(args) => kernel::cleanup(&args.pin_dir).context("cleanup is not complete"),
    }
}
