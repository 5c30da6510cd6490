//! `netpolctl`: what the agent knows, for people (tables) and for programs (JSON). `docs/netpolctl.md` shows every command.

mod args;
mod check;
mod explain;
mod flows;
mod flows_args;
mod output;
mod past;
mod past_args;
mod status;
mod table;
mod top;
mod views;

use std::{io, path::PathBuf, process::ExitCode};

pub use args::{
    Args, By, Command, FilterFlags, FlowsFlags, Format, SimulateFlags, SinceFlag, SuggestFlags, Top, TopFlags,
};
pub use output::Output;

use crate::ctl::{
    Client, ClientError,
    api::{Request, Response},
};

/// A command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent does not answer, or not as hoped.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// A file of manifests cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A policy cannot be written.
    #[error("writing a policy as YAML")]
    Yaml(#[from] serde_saphyr::SerializeError),
    /// Nobody takes the output.
    #[error("writing the output")]
    Output(#[from] io::Error),
}

/// How `netpolctl` ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done. `explain`: the connection is allowed.
    Done,
    /// Something went wrong.
    Failed,
    /// `explain`: the connection is denied. `simulate`: something would be denied that is not.
    Denied,
    /// `explain`: the maps contradict the reference evaluator.
    Contradiction,
    /// `check`, `why`: there are errors.
    Errors,
    /// `check`, `why`: there are warnings, and no errors.
    Warnings,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // 2 is a command line that makes no sense.
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Denied => 3,
            Exit::Contradiction => 4,
            Exit::Errors => 5,
            Exit::Warnings => 6,
        })
    }
}

/// Carries out a command, and says on stderr if that fails.
#[must_use]
pub fn main(args: &Args) -> Exit {
    match run(args, &mut Output::stdout()) {
        Ok(exit) => exit,
        // As `netpolctl … | head` does it: whoever reads has seen enough.
        Err(Error::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(e) => {
            let mut causes = String::new();
            let mut cause = std::error::Error::source(&e);
            while let Some(source) = cause {
                causes.push_str(&format!(": {source}"));
                cause = source.source();
            }
            eprintln!("netpolctl: {e}{causes}");
            Exit::Failed
        }
    }
}

/// Carries out a command.
///
/// # Errors
/// If the agent does not answer, or nobody takes the output.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<Exit, Error> {
    let json = args.output == Format::Json;
    let agent = Client::connect(&args.socket);
    if args.command == Command::Check {
        return check::run(agent, json, output);
    }
    let mut agent = agent?;
    match &args.command {
        Command::Status => {
            let status =
                agent.ask(&Request::Status, |r| if let Response::Status(s) = r { Some(s) } else { None })?;
            if json { output.json(&status)? } else { output.lines(&status::render(&status))? }
        }
        Command::Endpoints => {
            let all = agent
                .ask(&Request::Endpoints, |r| if let Response::Endpoints(e) = r { Some(e) } else { None })?;
            if json { output.json(&all)? } else { output.lines(&views::endpoints(&all))? }
        }
        Command::Policies => {
            let all = agent
                .ask(&Request::Policies, |r| if let Response::Policies(p) = r { Some(p) } else { None })?;
            if json { output.json(&all)? } else { output.lines(&views::policies(&all))? }
        }
        Command::Services => {
            let all = agent
                .ask(&Request::Services, |r| if let Response::Services(s) = r { Some(s) } else { None })?;
            if json { output.json(&all)? } else { output.lines(&views::services(&all))? }
        }
        Command::Metrics => {
            let text = agent
                .ask(&Request::Metrics, |r| if let Response::Metrics(m) = r { Some(m) } else { None })?;
            if json { output.json(&text)? } else { output.lines(&text)? }
        }
        Command::Flows(flags) => flows::run(&mut agent, flags, args.output, output)?,
        Command::Top(Top::Drops(flags)) => top::run(&mut agent, flags, json, output)?,
        Command::Simulate(flags) => return past::simulate(&mut agent, flags, json, output),
        Command::Suggest(flags) => return past::suggest(&mut agent, flags, json, output),
        Command::Check => {}
        Command::Why { subject } => return check::why(&mut agent, subject, json, output),
        Command::Explain(flags) => {
            let request = Request::Explain(flags.request());
            let answer =
                agent.ask(&request, |r| if let Response::Explanation(e) = r { Some(e) } else { None })?;
            if json {
                output.json(&answer)?
            } else {
                output.lines(&explain::render(&answer, output.colour()))?
            }
            return Ok(match (answer.consistent, answer.allowed) {
                (false, _) => Exit::Contradiction,
                (true, false) => Exit::Denied,
                (true, true) => Exit::Done,
            });
        }
    }
    Ok(Exit::Done)
}
