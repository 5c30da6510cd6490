//! `netpolctl flows`

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{
    Error,
    args::{FlowsFlags, Format},
    output::{Colour, Output},
    table::{Align, table},
};
use crate::{
    ctl::{
        Client,
        api::{Request, Response},
    },
    flow::{FlowRecord, PartyRecord, Verdict},
};

pub(super) fn run(
    agent: &mut Client,
    flags: &FlowsFlags,
    format: Format,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    agent.send(&Request::Flows(flags.request(Timestamp::now())))?;
    // A table needs to know all of its rows.
    let mut rows = (format == Format::Table && !flags.follow).then(Vec::new);
    loop {
        let missing = match agent.receive()? {
            Response::Flow(record) if format == Format::Json => {
                output.json(&record)?;
                continue;
            }
            Response::Flow(record) => {
                match &mut rows {
                    Some(rows) => rows.push(row(&record)),
                    None => output.lines(&line(&record, output.colour()))?,
                }
                continue;
            }
            Response::Lost(count) => ("lost", count, "lost: the reader is too slow"),
            Response::Missed(count) => ("missed", count, "missing: the agent is too slow for its kernel"),
            Response::End => break,
            _ => return Err(agent.other_answer().into()),
        };
        let (field, count, words) = missing;
        if format == Format::Json {
            output.json(&json!({ field: count }))?;
        } else {
            output.lines(&format!("… {count} records {words}"))?;
        }
    }
    if let Some(rows) = rows {
        let left = |name| (name, Align::Left);
        let headings = ["TIME", "VERDICT", "DIRECTION", "FROM", "TO", "PROTOCOL", "WHY"].map(left);
        let text = table(headings, rows, "no records");
        let colour = output.colour();
        // In place, when the widths are settled. No name has capitals.
        let lines = text.lines().map(|line| {
            let line = line.replacen(" DROPPED", &format!(" {}", colour.bad("DROPPED")), 1);
            format!("{}\n", line.replacen(" FORWARDED", &format!(" {}", colour.good("FORWARDED")), 1))
        });
        output.lines(&lines.collect::<String>())?;
    }
    Ok(())
}

/// The day is in the JSON.
fn time(record: &FlowRecord) -> String {
    let time = format!("{:.3}", record.time);
    time.split_once('T').map_or(time.as_str(), |(_, rest)| rest.trim_end_matches('Z')).to_owned()
}

/// Not coloured: the codes would count as width.
fn row(record: &FlowRecord) -> [String; 7] {
    let text = |end: &Option<PartyRecord>| end.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let to = match &record.translated {
        None => text(&record.destination),
        Some(backend) => format!("{} → {backend}", text(&record.destination)),
    };
    let from = match &record.source {
        None => place(record),
        source => text(source),
    };
    let protocol = if record.protocol.is_empty() { "-" } else { &record.protocol };
    [
        time(record),
        record.verdict.to_string().to_uppercase(),
        record.direction.clone(),
        from,
        to,
        protocol.to_owned(),
        why(record),
    ]
}

/// Where a packet was seen whose ends are not known.
pub(super) fn place(record: &FlowRecord) -> String {
    match &record.endpoint {
        Some(pod) => format!("{pod} on interface {}", record.interface),
        None => format!("interface {}", record.interface),
    }
}

/// One record in one line: when, what, to whom, why.
pub(super) fn line(record: &FlowRecord, colour: Colour) -> String {
    let time = time(record);
    let verdict = match record.verdict {
        Verdict::Dropped => colour.bad("DROPPED"),
        Verdict::Forwarded => colour.good("FORWARDED"),
        Verdict::Audit => colour.bad("AUDIT"),
    };
    let ends = [&record.source, &record.destination, &record.translated];
    let ends: Vec<_> = ends.into_iter().flatten().map(ToString::to_string).collect();
    let ends = if ends.is_empty() { place(record) } else { ends.join(" → ") };
    let direction = &record.direction;
    let protocol = if record.protocol.is_empty() { String::new() } else { format!(" {}", record.protocol) };
    let why = match (why(record), record.suppressed) {
        (why, 0) => why,
        (why, more) if why.is_empty() => format!("{more} packets, too many to tell apart"),
        (why, more) => format!("{why} ({more} more)"),
    };
    let ends = format!("{ends}{protocol}");
    let mut words = vec![&*time, &verdict, direction, &ends, &why];
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn why(record: &FlowRecord) -> String {
    let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
    let nearest = || record.nearest.as_ref().map_or_else(String::new, |words| format!("; nearest {words}"));
    match &record.reason {
        None if record.verdict == Verdict::Audit => {
            format!("to be isolated by {}{}", policies.join(", "), nearest())
        }
        Some(reason) if reason == "policy" && policies.is_empty() => {
            format!("{reason}: isolated by policies that are gone")
        }
        Some(reason) if reason == "policy" => {
            format!("{reason}: isolated by {}{}", policies.join(", "), nearest())
        }
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
        let nearest =
            "shop/db-ingress spec.ingress[0]: TCP 5432 is allowed from app=web; app=frontend is not it";
        let near = FlowRecord { nearest: Some(nearest.into()), ..sample() };
        assert!(line(&near, Colour::Off).ends_with(&format!("shop/db-ingress; nearest {nearest}")));
        assert!(row(&near)[6].ends_with(nearest) && row(&near)[3] == "shop/frontend:43122");
        let audit = FlowRecord { verdict: Verdict::Audit, reason: None, ..sample() };
        assert!(line(&audit, Colour::Off).ends_with("TCP to be isolated by shop/db-ingress"));
        assert!(
            line(&FlowRecord { suppressed: 7, ..sample() }, Colour::Off)
                .ends_with("shop/db-ingress (7 more)")
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
            endpoint: None,
            ..sample()
        };
        assert_eq!(line(&record, Colour::Off), "12:03:04.512 DROPPED ingress interface 11 malformed");
        let record = FlowRecord {
            reason: None,
            direction: String::new(),
            endpoint: Some(Name::new("shop", "scanner")),
            suppressed: 98_976,
            egress: String::new(),
            ..record
        };
        assert_eq!(
            line(&record, Colour::Off),
            "12:03:04.512 DROPPED shop/scanner on interface 11 98976 packets, too many to tell apart"
        );
    }
}
