//! What is wrong with a node's agent, from what it says of itself.

use super::{Finding, Severity};
use crate::{
    ctl::api::{EndpointView, PendingReason, Status},
    model::Level,
};

/// A table that is fuller than this, in hundredths, is about to be full.
const NEARLY_FULL: usize = 80;

/// Everything that an operator of the node should know.
#[must_use]
pub fn node(status: &Status, endpoints: &[EndpointView]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity, about: &str, reason: String, advice: &str| {
        found.push(Finding::new(severity, about, reason, advice));
    };
    if !status.synced {
        let reason = "the source has not delivered everything yet: what was in force before stays in force, \
                      and what is new stays closed";
        add(Severity::Error, "agent", reason.to_owned(), "see the watches below, or the agent's log");
    } else if !status.in_sync && status.refusals.is_empty() {
        add(Severity::Warning, "agent", "the maps do not hold what is wanted yet".to_owned(), "ask again");
    }
    for watch in &status.watches {
        let about = format!("watch {}", watch.kind);
        match watch.phase.as_str() {
            "watching" | "absent" => {}
            "failing" => add(
                Severity::Error,
                &about,
                "the API server does not answer, or refuses: what was said before stays in force".to_owned(),
                "netpolctl status says what it answers; compare the agent's ClusterRole with docs/api-server.md",
            ),
            phase => add(Severity::Warning, &about, format!("is {phase}"), "ask again"),
        }
    }
    for table in &status.tables {
        let share = (table.rows * 100).checked_div(table.capacity).unwrap_or(0);
        if share >= NEARLY_FULL {
            let reason = format!("is {share}% full: {} of {} rows", table.rows, table.capacity);
            add(
                Severity::Warning,
                &format!("map {}", table.table),
                reason,
                "docs/limits.md says what happens when it is full, and how to raise it",
            );
        }
    }
    for refusal in &status.refusals {
        add(
            Severity::Error,
            "dataplane",
            refusal.clone(),
            "docs/limits.md says how to raise what is too small",
        );
    }
    for endpoint in endpoints {
        // That of the source is said above, once for all.
        let told =
            |reason: &PendingReason| !matches!(reason, PendingReason::Ending | PendingReason::NotSynced);
        let Some(reason) = endpoint.pending.filter(told) else { continue };
        let interface = endpoint.interface.as_ref().map(|name| format!("interface {name}"));
        let about = endpoint.pod.as_ref().map(|pod| format!("Pod {pod}")).or(interface);
        let state = if reason == PendingReason::NoVeth { "is open" } else { "is closed" };
        add(
            Severity::Error,
            &about.unwrap_or_default(),
            format!("{state}: {}", reason.message()),
            advice(reason),
        );
    }
    for problem in &status.problems {
        // A pod that is pending is named above, once.
        let pending = endpoints.iter().any(|endpoint| {
            endpoint.pending.is_some()
                && problem.object.as_ref().is_some_and(|object| {
                    object.kind == "Pod"
                        && endpoint.pod.as_ref().is_some_and(|pod| pod.of_kind("Pod") == *object)
                })
        });
        if problem.level == Level::Error && !pending {
            let about = problem.object.as_ref().map_or_else(|| problem.origin.clone(), ToString::to_string);
            let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
            add(Severity::Error, &about, format!("{field}{}", problem.message), "");
        }
    }
    for counter in status.counters.iter().filter(|c| c.name.starts_with("lost-") && c.count > 0) {
        let reason = format!(
            "{} records of packets were lost: the programs write them faster than the agent reads",
            counter.count
        );
        add(Severity::Note, &counter.name, reason, "");
    }
    found
}

fn advice(reason: PendingReason) -> &'static str {
    match reason {
        PendingReason::NoAddress => "kubectl describe pod says what it waits for",
        PendingReason::NoInterface => {
            "are the pod's namespace in --netns-dir, and its address that of its status? docs/cni.md"
        }
        PendingReason::NoVeth => "wire it with a plugin that makes veths (ptp, bridge); docs/cni.md",
        PendingReason::NoPod => "a pod that is starting, or an interface that a plugin has left behind",
        PendingReason::Contested => "kubectl get pods -A -o wide: who else has its address?",
        PendingReason::Refused => "docs/limits.md says how to raise what is too small",
        PendingReason::NotWritten => "ask again",
        PendingReason::WriteFailed => "the agent's log says what the kernel answers",
        PendingReason::Ending | PendingReason::NotSynced => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ctl::api::{EndpointState, TableFill, WatchView},
        model::{Name, Problem},
    };

    #[test]
    fn what_an_agent_says_of_itself_is_judged() {
        let watch = |kind: &str, phase: &str| WatchView {
            kind: kind.into(),
            phase: phase.into(),
            version: String::new(),
        };
        let fill = |table: &str, rows| TableFill { table: table.into(), rows, capacity: 100, bytes: 0 };
        let pod = Name::new("shop", "db");
        let endpoint = EndpointView {
            pod: Some(pod.clone()),
            addresses: Vec::new(),
            ifindex: None,
            interface: None,
            state: EndpointState::Pending,
            pending: Some(PendingReason::NoVeth),
            isolated_in: false,
            isolated_out: false,
            policies_in: Vec::new(),
            policies_out: Vec::new(),
            tried_in: Vec::new(),
            tried_out: Vec::new(),
            connections: 0,
        };
        let status = Status {
            synced: true,
            in_sync: true,
            watches: vec![watch("Pod", "watching"), watch("Node", "failing")],
            tables: vec![fill("np_ct", 79), fill("np_ep", 80)],
            problems: vec![Problem {
                object: Some(pod.of_kind("Pod")),
                message: "open".into(),
                ..Problem::default()
            }],
            ..Status::default()
        };
        let waiting = EndpointView { pending: Some(PendingReason::NotSynced), ..endpoint.clone() };
        let about: Vec<String> = node(&status, &[endpoint])
            .into_iter()
            .map(|f| format!("{} {}", f.severity.name(), f.about))
            .collect();
        assert_eq!(about, ["error watch Node", "warning map np_ep", "error Pod shop/db"]);
        // Once, and not for each pod.
        let fresh = node(&Status::default(), &[waiting]);
        assert_eq!((fresh.len(), fresh[0].severity), (1, Severity::Error));
    }
}
