//! `netpolctl flows`

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{
    Error,
    args::FlowsFlags,
    output::{Colour, Output},
};
use crate::{
    ctl::{
        Client,
        api::{Request, Response},
    },
    flow::{FlowRecord, Verdict},
};

pub(super) fn run(
    agent: &mut Client,
    flags: &FlowsFlags,
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    agent.send(&Request::Flows(flags.request(Timestamp::now())))?;
    loop {
        match agent.receive()? {
            Response::Flow(record) if json => output.json(&record)?,
            Response::Flow(record) => output.lines(&line(&record, output.colour()))?,
            Response::Lost(count) if json => output.json(&json!({ "lost": count }))?,
            Response::Lost(count) => {
                output.lines(&format!("… {count} records lost: the reader is too slow"))?
            }
            Response::Missed(count) if json => output.json(&json!({ "missed": count }))?,
            Response::Missed(count) => {
                output.lines(&format!("… {count} records missing: the agent is too slow for its kernel"))?
            }
            Response::End => return Ok(()),
            _ => return Err(agent.other_answer().into()),
        }
    }
}

/// One record in one line: when, what, to whom, why.
pub(super) fn line(record: &FlowRecord, colour: Colour) -> String {
    // The day is in the JSON.
    let time = format!("{:.3}", record.time);
    let time = time.split_once('T').map_or(time.as_str(), |(_, rest)| rest.trim_end_matches('Z'));
    let verdict = match record.verdict {
        Verdict::Dropped => colour.bad("DROPPED"),
        Verdict::Forwarded => colour.good("FORWARDED"),
        Verdict::Audit => colour.bad("AUDIT"),
    };
    let ends = [&record.source, &record.destination, &record.translated];
    let ends: Vec<_> = ends.into_iter().flatten().map(ToString::to_string).collect();
    let ends = if ends.is_empty() { format!("interface {}", record.interface) } else { ends.join(" → ") };
    let direction = &record.direction;
    let protocol = if record.protocol.is_empty() { String::new() } else { format!(" {}", record.protocol) };
    format!("{time} {verdict} {direction} {ends}{protocol} {}", why(record))
}

fn why(record: &FlowRecord) -> String {
    let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
    match &record.reason {
        Some(reason) if reason == "policy" && policies.is_empty() => {
            format!("{reason}: isolated by policies that are gone")
        }
        Some(reason) if reason == "policy" => format!("{reason}: isolated by {}", policies.join(", ")),
        Some(reason) => reason.clone(),
        None => {
            let ends = [("egress", &record.egress), ("ingress", &record.ingress)];
            let ends = ends.into_iter().filter(|(_, basis)| !basis.is_empty());
            ends.map(|(end, basis)| format!("{end}: {basis}")).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow::tests_support::sample, model::Name};

    #[test]
    fn a_drop_reads_like_a_sentence() {
        assert_eq!(
            line(&sample(), Colour::Off),
            "12:03:04.512 DROPPED ingress shop/frontend:43122 → shop/db-0:5432 TCP policy: isolated by shop/db-ingress"
        );
        assert!(line(&sample(), Colour::On).contains("\u{1b}[31mDROPPED\u{1b}[0m"));
    }

    #[test]
    fn a_forwarded_connection_shows_its_service_and_its_rules() {
        let mut record = FlowRecord { verdict: Verdict::Forwarded, reason: None, ..sample() };
        record.translated = record.destination.clone();
        let destination = record.destination.as_mut().unwrap();
        (destination.namespace, destination.pod) = (None, None);
        (destination.service, destination.port) = (Some(Name::new("shop", "db")), 80);
        record.ingress = "shop/db-ingress spec.ingress[0]".into();
        record.policies[0].rule = Some("spec.ingress[0]".into());
        assert_eq!(
            line(&record, Colour::Off),
            "12:03:04.512 FORWARDED ingress shop/frontend:43122 → service:shop/db:80 → shop/db-0:5432 TCP \
             egress: not-isolated, ingress: shop/db-ingress spec.ingress[0]"
        );
    }

    #[test]
    fn a_packet_that_was_not_parsed_names_its_interface() {
        let record = FlowRecord {
            reason: Some("malformed".into()),
            source: None,
            destination: None,
            protocol: String::new(),
            policies: Vec::new(),
            ..sample()
        };
        assert_eq!(line(&record, Colour::Off), "12:03:04.512 DROPPED ingress interface 11 malformed");
    }
}
