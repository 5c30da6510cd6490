//! `netpolctl check` and `netpolctl why`

mod host;

use super::{
    Error, Exit,
    output::{Colour, Output},
};
use crate::{
    ctl::{
        Client, ClientError,
        api::{Request, Response, Status},
    },
    diagnose::{Finding, Severity, Subject},
};

/// Everything that is wrong with the node, also if no agent answers.
pub(super) fn run(
    agent: Result<Client, ClientError>,
    json: bool,
    output: &mut Output<'_>,
) -> Result<Exit, Error> {
    let mut found = host::system();
    match agent {
        Ok(mut agent) => {
            let checked =
                agent.ask(&Request::Check, |r| if let Response::Checked(c) = r { Some(c) } else { None })?;
            found.extend(host::pins_lie_well(&checked.status.pin_dir));
            found.extend(host::attached(&checked.status, &checked.interfaces));
            found.extend(host::others(&checked.status));
            found.extend(checked.findings);
        }
        Err(error) => {
            found.extend(host::pins_lie_well(host::USUAL));
            let advice = "start it (systemctl, or kubectl get pods of its DaemonSet); what it had in force is in force still";
            found.push(Finding::new(Severity::Error, "agent", error.to_string(), advice));
        }
    }
    found.sort();
    found.dedup();
    show(&found, json, output, "nothing is wrong")
}

/// Why one object does not work.
pub(super) fn why(
    agent: &mut Client,
    subject: &Subject,
    json: bool,
    output: &mut Output<'_>,
) -> Result<Exit, Error> {
    let request = Request::Why(subject.clone());
    let found = agent.ask(&request, |r| if let Response::Findings(f) = r { Some(f) } else { None })?;
    show(&found, json, output, "there is nothing to say")
}

fn show(found: &[Finding], json: bool, output: &mut Output<'_>, nothing: &str) -> Result<Exit, Error> {
    if json {
        output.json(&found)?;
    } else if found.is_empty() {
        output.lines(nothing)?;
    } else {
        let colour = output.colour();
        let text: String = found.iter().map(|finding| lines(finding, colour)).collect();
        output.lines(&text)?;
    }
    Ok(match found.iter().map(|finding| finding.severity).min() {
        Some(Severity::Error) => Exit::Errors,
        Some(Severity::Warning) => Exit::Warnings,
        Some(Severity::Note) | None => Exit::Done,
    })
}

fn lines(finding: &Finding, colour: Colour) -> String {
    let Finding { severity, about, reason, advice } = finding;
    let word = format!("{:<8}", severity.name());
    let word = if *severity == Severity::Error { colour.bad(&word) } else { word };
    let advice = if advice.is_empty() { String::new() } else { format!("         → {advice}\n") };
    format!("{word} {about}: {reason}\n{advice}")
}

/// What the agent said of itself, for the checks that are done here.
fn pins(status: &Status) -> std::path::PathBuf {
    std::path::Path::new(&status.pin_dir).join(format!("v{}", status.abi))
}
