//! The commands of the specification.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Records,
    agent::{self, AgentError},
    conf::{Conf, VERSIONS},
    error::{Code, Error},
    hold,
    parameters::{self, PodName},
    previous,
    protocol::{Answer, Request, Wiring},
};

/// For everything but ADD, which has a time of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries out the command in the environment, with the configuration on stdin and the result on stdout.
#[must_use]
pub fn main() -> ExitCode {
    let mut text = String::new();
    let read = io::stdin().read_to_string(&mut text);
    let read = read.map_err(|error| Error::new(Code::Io, format!("reading the configuration: {error}")));
    let (output, code) = match read.and_then(|_| run(&text)) {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("netpol-cni: {error}");
            (Some(error.to_json(version_of(&text)).to_string()), ExitCode::FAILURE)
        }
    };
    match output.map_or(Ok(()), |output| io::stdout().write_all(output.as_bytes())) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("netpol-cni: writing the result: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The version in which an error about the configuration is told.
fn version_of(text: &str) -> &'static str {
    let said = serde_json::from_str::<Value>(text).unwrap_or_default();
    let spoken = VERSIONS.iter().find(|version| said["cniVersion"] == **version);
    spoken.or(VERSIONS.last()).copied().unwrap_or_default()
}

fn run(text: &str) -> Result<Option<String>, Error> {
    let command = parameters::needed("CNI_COMMAND")?;
    if command == "VERSION" {
        let newest = VERSIONS.last();
        return Ok(Some(json!({"cniVersion": newest, "supportedVersions": VERSIONS}).to_string()));
    }
    let conf = Conf::parse(text)?;
    if conf.hold {
        return if command == "ADD" { hold(&conf).map(Some) } else { Ok(None) };
    }
    match command.as_str() {
        "ADD" => add(&conf).map(Some),
        "CHECK" => check(&conf).map(|()| None),
        "DEL" => del(&conf).map(|()| None),
        "GC" => gc(&conf).map(|()| None),
        "STATUS" => status(&conf).map(|()| None),
        other => Err(Error::new(Code::Environment, format!("CNI_COMMAND {other:?} is no command"))),
    }
}

fn wiring(conf: &Conf) -> Result<Wiring, Error> {
    let missing = "prevResult is missing: the plugin must stand behind the one that makes the interface";
    let previous = conf.prev_result.as_deref().ok_or_else(|| Error::new(Code::Configuration, missing))?;
    let attachment = parameters::attachment()?;
    let PodName { namespace, name, uid } = PodName::from_environment()?;
    let (_, netns) = parameters::netns()?;
    let addresses = previous::addresses(previous, &attachment.ifname)?;
    Ok(Wiring { attachment, network: conf.name.clone(), netns, namespace, name, uid, addresses })
}

/// In front of the plugin that makes the interface. What it holds goes with the namespace, so that DEL has nothing to do.
fn hold(conf: &Conf) -> Result<String, Error> {
    let (netns, _) = parameters::netns()?;
    hold::hold(&netns)?;
    let nothing = || json!({"cniVersion": conf.cni_version}).to_string();
    Ok(conf.prev_result.as_deref().map_or_else(nothing, |previous| previous.get().to_owned()))
}

/// Returns when the pod's policy is in the kernel. What is wrong with the call fails even where the agent's absence would not.
fn add(conf: &Conf) -> Result<String, Error> {
    let wiring = wiring(conf)?;
    let who = format!("Pod {}/{}", wiring.namespace, wiring.name);
    let timeout_ms = conf.timeout().as_millis().try_into().unwrap_or(u64::MAX);
    let request = Request::Add { wiring: Box::new(wiring), timeout_ms };
    let outcome = understood(agent::ask(&conf.dir, &request, conf.timeout()));
    match outcome {
        Err(error) if conf.fail_open && error.code == Code::Later => {
            eprintln!("netpol-cni: {who}: {error}; it starts without its policy, because failOpen is set");
        }
        outcome => {
            outcome.map_err(|error| Error::new(error.code, format!("{who}: {error}")))?;
        }
    }
    let (netns, _) = parameters::netns()?;
    hold::release(&netns)?;
    // As it came: other plugins' fields pass through.
    Ok(conf.prev_result.as_deref().map(|previous| previous.get().to_owned()).unwrap_or_default())
}

fn check(conf: &Conf) -> Result<(), Error> {
    let request = Request::Check { wiring: Box::new(wiring(conf)?) };
    understood(agent::ask(&conf.dir, &request, PATIENCE))
}

/// Succeeds whatever has become of the pod and of the agent: a runtime repeats it until it does.
fn del(conf: &Conf) -> Result<(), Error> {
    let attachment = parameters::attachment()?;
    match agent::ask(&conf.dir, &Request::Del { attachment: attachment.clone() }, PATIENCE) {
        Ok(Answer::Done) => {}
        Ok(Answer::Failed(why) | Answer::Refused(why)) => eprintln!("netpol-cni: DEL: {why}"),
        // Else an agent that comes later would find the pod in its records.
        Err(error) => {
            eprintln!("netpol-cni: DEL: {error}");
            if let Err(error) = Records::below(&conf.dir).remove(&attachment) {
                eprintln!("netpol-cni: DEL: removing the record of {attachment}: {error}");
            }
        }
    }
    Ok(())
}

fn gc(conf: &Conf) -> Result<(), Error> {
    let valid = conf.valid_attachments()?;
    let request = Request::Gc { network: conf.name.clone(), valid: valid.clone() };
    match agent::ask(&conf.dir, &request, PATIENCE) {
        Err(AgentError::Away(_)) => Records::below(&conf.dir)
            .collect(&conf.name, &valid)
            .map_err(|error| Error::new(Code::Io, format!("removing records of what has gone: {error}"))),
        outcome => understood(outcome),
    }
}

fn status(conf: &Conf) -> Result<(), Error> {
    match understood(agent::ask(&conf.dir, &Request::Status, PATIENCE)) {
        Err(error) if !conf.fail_open => Err(Error::new(Code::NotAvailable, error.message)),
        _ => Ok(()),
    }
}

fn understood(answer: Result<Answer, AgentError>) -> Result<(), Error> {
    match answer {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Failed(why)) => Err(Error::new(Code::Later, why)),
        Ok(Answer::Refused(why)) => Err(Error::new(Code::Refused, why)),
        Err(error) => Err(Error::new(Code::Later, error.to_string())),
    }
}
