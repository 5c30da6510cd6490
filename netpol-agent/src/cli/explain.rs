//! `netpolctl explain`

use super::output::Colour;
use crate::{
    ctl::api::{Explanation, MapsAnswer, Way},
    oracle::{Miss, ObjectName, RuleMatch, Verdict},
};

/// Rules that missed are listed up to this many, the nearest first.
const MAX_MISSES: usize = 5;
/// Under the first column.
const INDENT: &str = "                  ";

pub(super) fn render(explanation: &Explanation, colour: Colour) -> String {
    let Explanation { question, service, ways, allowed, consistent } = explanation;
    let mut text = format!("{question}\n");
    if let Some(service) = service {
        let ways = match ways.len() {
            0 => "nobody answers for it".to_owned(),
            1 => "one way".to_owned(),
            n => format!("{n} ways, one of which each connection takes"),
        };
        text.push_str(&format!("through service {service}: {ways}\n"));
    }
    for way in ways {
        text.push('\n');
        text.push_str(&render_way(way, colour));
    }
    text.push('\n');
    text.push_str(&if *allowed {
        colour.good("ALLOWED")
    } else if ways.is_empty() {
        colour.bad("NOBODY ANSWERS")
    } else if ways.iter().any(|way| way.egress.allows() && way.ingress.allows()) {
        colour.bad("DENIED on some ways")
    } else {
        colour.bad("DENIED")
    });
    text.push('\n');
    if !consistent {
        text.push_str(&colour.bad(CONTRADICTION));
        text.push('\n');
    }
    text
}

const CONTRADICTION: &str = "\
!! THE MAPS OF THIS NODE SAY SOMETHING ELSE THAN THE POLICIES, marked above with !!
!! Is the agent in sync (netpolctl status)? If it is, this is an error in netpol: please report it with this output.";

fn render_way(way: &Way, colour: Colour) -> String {
    let Way { from, to, pod, port, egress, ingress, maps, consistent: _ } = way;
    let port = if *port == 0 { String::new() } else { format!(" port {port}") };
    let pod = pod.as_ref().map(|pod| format!(" ({pod})")).unwrap_or_default();
    let mut text = format!("{from} → {to}{pod}{port}\n");
    for (end, verdict, maps) in [("egress", egress, &maps.egress), ("ingress", ingress, &maps.ingress)] {
        let word = if verdict.allows() { "allowed" } else { "DENIED " };
        let word = if verdict.allows() { colour.good(word) } else { colour.bad(word) };
        let mut reasons = reasons(verdict).into_iter();
        let first = reasons.next().unwrap_or_default();
        text.push_str(&format!("  {end:<8} {word}{first}\n"));
        reasons.for_each(|reason| text.push_str(&format!("{INDENT}{reason}\n")));
        let differs = maps.allows().is_some_and(|allows| allows != verdict.allows());
        let mark = if differs { "!!" } else { "  " };
        text.push_str(&format!("{mark}{:<8} maps: {}\n", "", words(maps)));
    }
    text
}

pub(super) fn reasons(verdict: &Verdict) -> Vec<String> {
    let names = |names: &[ObjectName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match verdict {
        Verdict::NotAPod => vec![" no pod, so no policy selects it".to_owned()],
        Verdict::Itself => vec![" a pod cannot block itself".to_owned()],
        Verdict::OwnNode => vec![" a pod's own node can always reach it".to_owned()],
        Verdict::NotIsolated => vec![" no policy isolates the pod in this direction".to_owned()],
        Verdict::Allowed { isolated_by, rules } => {
            let mut lines: Vec<_> = rules.iter().map(|rule| format!(" by {}", rule_words(rule))).collect();
            lines.push(format!(" isolated by {}", names(isolated_by)));
            lines
        }
        Verdict::Denied { isolated_by, .. } if isolated_by.is_empty() => {
            vec![" isolated by a policy that went with its namespace before the agent started".to_owned()]
        }
        Verdict::Audited { isolated_by, misses } => {
            let first = format!(" audit mode: to be isolated by {}", names(isolated_by));
            for_want_of(first, misses)
        }
        Verdict::Denied { isolated_by, misses } => {
            for_want_of(format!(" isolated by {}", names(isolated_by)), misses)
        }
    }
}

/// `first`, and what each rule lacked.
fn for_want_of(first: String, misses: &[Miss]) -> Vec<String> {
    let mut lines = vec![first];
    if misses.is_empty() {
        lines.push(" none of which has a rule for this direction".to_owned());
    }
    lines.extend(misses.iter().take(MAX_MISSES).map(|miss| format!(" not by {miss}")));
    if misses.len() > MAX_MISSES {
        lines.push(format!(" nor by {} other rules", misses.len() - MAX_MISSES));
    }
    lines
}

fn rule_words(rule: &RuleMatch) -> String {
    let RuleMatch { policy, index: _, path, peer, port } = rule;
    let peer = peer.as_deref().unwrap_or("every peer");
    let port = port.as_deref().unwrap_or("every port");
    format!("{policy} {path} (peer: {peer}, port: {port})")
}

fn words(answer: &MapsAnswer) -> String {
    match answer {
        MapsAnswer::Elsewhere => "not judged on this node".to_owned(),
        MapsAnswer::Pending => "pending, closed until the pod's policy is in place".to_owned(),
        MapsAnswer::NotIsolated => "allowed, not isolated".to_owned(),
        MapsAnswer::Audited => "allowed, though no rule does: audit mode".to_owned(),
        MapsAnswer::Always => "allowed, whatever the rules say".to_owned(),
        MapsAnswer::Allowed(rule) => format!("allowed by {rule}"),
        MapsAnswer::Denied => "denied".to_owned(),
    }
}
