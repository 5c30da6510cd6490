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
    install::{self, CniFolders, Done},
    runtime,
};
use tikv_jemallocator::Jemalloc;
use tracing_subscriber::EnvFilter;

/// Its options are [`kernel::ALLOCATOR_OPTIONS`].
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
            log(&args.log)?;
            Ok(runtime::run(&args)?)
        }
        Command::Cleanup(args) => {
            kernel::cleanup(&args.pin_dir).context("cleanup is not complete")?;
            match args.stay {
                true => runtime::stay().context("cannot wait for a signal"),
                false => Ok(()),
            }
        }
        Command::InstallCni(args) => {
            let what = args.install().context("where is this program?")?;
            if args.watch {
                log(&args.log)?;
                return Ok(install::follow(&what)?);
            }
            say(install::install(&what)?, "installed");
            Ok(())
        }
        Command::UninstallCni(CniFolders { conf_dir, bin_dir }) => {
            say(install::uninstall(&conf_dir, &bin_dir)?, "removed");
            Ok(())
        }
        Command::InstallSeccomp(args) => Ok(install::install_seccomp(&args.dir).map(drop)?),
    }
}

fn say(done: Done, what: &str) {
    match done {
        Done::Changed => println!("{} is {what}", netpol_cni::TYPE),
        Done::Nothing => println!("{} is {what} already", netpol_cni::TYPE),
    }
}

fn log(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).context("--log")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    log.with_ansi(stderr().is_terminal()).init();
    Ok(())
}
