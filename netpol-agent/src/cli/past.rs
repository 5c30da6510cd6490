//! `netpolctl simulate` and `suggest`

use std::{fs, io, path::Path};

use k8s_openapi::{api::networking::v1::NetworkPolicy, jiff::Timestamp};

use super::{
    Error, Exit,
    explain::reasons,
    output::{Colour, Output},
    past_args::{SimulateFlags, SuggestFlags},
};
use crate::{
    ctl::{
        Client,
        api::{ManifestFile, Request, Response, SimulateRequest, Simulated, Suggested},
    },
    flow::protocol_name,
    history::{Changed, Observation, ObservedParty, Outcome, Recalled},
    oracle::Verdict,
};

/// Under the first column.
const INDENT: &str = "         ";

pub(super) fn simulate(
    agent: &mut Client,
    flags: &SimulateFlags,
    json: bool,
    output: &mut Output<'_>,
) -> Result<Exit, Error> {
    let files = flags.file.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let since = flags.since.map(|since| since.before(Timestamp::now()));
    let request = Request::Simulate(SimulateRequest { files, delete: flags.delete.clone(), since });
    let answer = agent.ask(&request, |r| if let Response::Simulated(s) = r { Some(s) } else { None })?;
    if json {
        output.json(&answer)?
    } else {
        output.lines(&simulated(&answer, output.colour()))?
    }
    let denies = answer.changed.iter().any(|changed| changed.after == Outcome::Denied);
    Ok(if denies { Exit::Denied } else { Exit::Done })
}

fn read(path: &Path) -> Result<ManifestFile, Error> {
    let text =
        if path == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    let text = text.map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(ManifestFile { path: path.display().to_string(), text })
}

fn simulated(answer: &Simulated, colour: Colour) -> String {
    let Simulated { known, judged, changed, notes } = answer;
    let mut text = String::new();
    for changed in changed {
        text.push_str(&one(changed, colour));
        text.push('\n');
    }
    let count = |outcome| changed.iter().filter(|changed| changed.after == outcome).count();
    let [denied, allowed, audited] = [Outcome::Denied, Outcome::Allowed, Outcome::Audited].map(count);
    text.push_str(&format!(
        "{denied} would be denied, {allowed} allowed, {audited} audited; {} stay as they are\n",
        judged.saturating_sub(changed.len())
    ));
    text.push_str(&format!("judged {judged} kinds of connections {}\n", place(known)));
    let notes = known.gaps.iter().chain(notes);
    notes.for_each(|note| text.push_str(&format!("note: {note}\n")));
    text
}

fn place(known: &Recalled) -> String {
    let from = known.from.map(|from| format!("seen since {from:.0}, ")).unwrap_or_default();
    format!("{from}from {}", known.place)
}

fn one(changed: &Changed, colour: Colour) -> String {
    let Changed { seen, before, after, judgement } = changed;
    // Padded before it is coloured: the colour has no width.
    let word = format!("{:<8}", after.to_string());
    let word = if *after == Outcome::Denied { colour.bad(&word) } else { colour.good(&word) };
    let mut text = format!("{word} {} (now {before})\n", connection(seen));
    let ends = [("egress", &judgement.egress), ("ingress", &judgement.ingress)];
    let tells = |verdict: &Verdict| match after {
        Outcome::Denied => !verdict.allows(),
        Outcome::Audited => matches!(verdict, Verdict::Audited { .. }),
        Outcome::Allowed => true,
    };
    for (end, verdict) in ends.into_iter().filter(|(_, verdict)| tells(verdict)) {
        for (i, reason) in reasons(verdict).iter().enumerate() {
            let end = if i == 0 { end } else { "" };
            text.push_str(&format!("{INDENT}{end:<8}{reason}\n"));
        }
    }
    text
}

fn connection(seen: &Observation) -> String {
    let Observation { source, destination, protocol, port, count, last, .. } = seen;
    let port = if *port == 0 { String::new() } else { format!(" port {port}") };
    let times = match count {
        0 => "goes on".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let protocol = protocol_name(*protocol);
    format!("{} → {}, {protocol}{port}: {times}, last {last:.0}", party(source), party(destination))
}

fn party(party: &ObservedParty) -> String {
    let ObservedParty { address, namespace, pod, workload, node, .. } = party;
    match (namespace, pod, workload, node) {
        (Some(namespace), _, Some(workload), _) => {
            format!("{namespace}/{} ({})", workload.name, workload.kind)
        }
        (Some(namespace), Some(pod), None, _) => format!("{namespace}/{pod}"),
        (.., Some(node)) => format!("node:{node}"),
        _ => address.to_string(),
    }
}

pub(super) fn suggest(
    agent: &mut Client,
    flags: &SuggestFlags,
    json: bool,
    output: &mut Output<'_>,
) -> Result<Exit, Error> {
    let request = Request::Suggest(flags.request(Timestamp::now()));
    let mut answer = agent.ask(&request, |r| if let Response::Suggested(s) = r { Some(s) } else { None })?;
    if flags.audit {
        answer.suggestion.policies.iter_mut().for_each(try_only);
    }
    if json {
        output.json(&answer)?
    } else {
        output.lines(&suggested(&answer)?)?
    }
    Ok(Exit::Done)
}

fn try_only(policy: &mut NetworkPolicy) {
    let annotations = policy.metadata.annotations.get_or_insert_default();
    annotations.insert("netpol.dev/mode".to_owned(), "audit".to_owned());
}

fn suggested(answer: &Suggested) -> Result<String, Error> {
    let Suggested { known, suggestion } = answer;
    let mut text = format!("# Allows {} kinds of connections {}\n", suggestion.seen, place(known));
    for note in known.gaps.iter().chain(&suggestion.notes) {
        text.push_str(&format!("# note: {note}\n"));
    }
    for policy in &suggestion.policies {
        text.push_str("---\n");
        text.push_str(serde_saphyr::to_string(policy)?.trim_end());
        text.push('\n');
    }
    Ok(text)
}
