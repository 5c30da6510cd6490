//! `netpolctl endpoints`, `policies`, `services`

use super::table::{Align, table};
use crate::{
    ctl::api::{
        BackendView, EndpointState, EndpointView, FrontendView, PendingReason, PolicyView, ServiceView,
    },
    flow::protocol_name,
    model::{Mode, Name},
};

/// Backends that fit into a line.
const MAX_BACKENDS: usize = 4;

pub(super) fn endpoints(all: &[EndpointView]) -> String {
    let row = |endpoint: &EndpointView| {
        let isolation = |isolated: bool, policies: &[Name], tried: &[Name]| match isolated {
            true => names(policies),
            false if tried.is_empty() => "open".to_owned(),
            false => format!("open (audit: {})", names(tried)),
        };
        let (ingress, egress) = if endpoint.pending == Some(PendingReason::NoVeth) {
            ("not policed".to_owned(), "not policed".to_owned())
        } else if endpoint.pending == Some(PendingReason::NotSynced) {
            // By the rows of an agent before, if it knew of the pod.
            ("as before".to_owned(), "as before".to_owned())
        } else if endpoint.state == EndpointState::Pending {
            ("closed".to_owned(), "closed".to_owned())
        } else {
            (
                isolation(endpoint.isolated_in, &endpoint.policies_in, &endpoint.tried_in),
                isolation(endpoint.isolated_out, &endpoint.policies_out, &endpoint.tried_out),
            )
        };
        let state = match endpoint.state {
            EndpointState::Ready => "ready",
            EndpointState::Pending => "pending",
            EndpointState::Changing => "changing",
        };
        let why = endpoint.pending.map_or("-", PendingReason::message);
        let interface = match (&endpoint.interface, endpoint.ifindex) {
            (Some(name), Some(index)) => format!("{name} ({index})"),
            (Some(name), None) => name.clone(),
            (None, Some(index)) => format!("({index})"),
            (None, None) => "not found".to_owned(),
        };
        [
            endpoint.pod.as_ref().map_or_else(|| "of no known pod".to_owned(), ToString::to_string),
            list(&endpoint.addresses),
            interface,
            state.to_owned(),
            ingress,
            egress,
            endpoint.connections.to_string(),
            why.to_owned(),
        ]
    };
    let left = |name| (name, Align::Left);
    let headings = [
        left("POD"),
        left("ADDRESSES"),
        left("INTERFACE"),
        left("STATE"),
        left("INGRESS"),
        left("EGRESS"),
        ("CONNECTIONS", Align::Right),
        left("WHY PENDING"),
    ];
    table(headings, all.iter().map(row), "no pods on this node")
}

pub(super) fn policies(all: &[PolicyView]) -> String {
    let row = |policy: &PolicyView| {
        let rules = |isolates: bool, rules: usize| match (isolates, rules) {
            (false, _) => "-".to_owned(),
            (true, 0) => "deny all".to_owned(),
            (true, 1) => "1 rule".to_owned(),
            (true, n) => format!("{n} rules"),
        };
        let problems = if policy.problems == 0 { "-".to_owned() } else { policy.problems.to_string() };
        [
            policy.policy.to_string(),
            rules(policy.ingress, policy.rules_in),
            rules(policy.egress, policy.rules_out),
            policy.pods.to_string(),
            policy.local_pods.to_string(),
            match (&policy.refused, policy.kept) {
                (Some(_), _) => "refused",
                (None, _) if policy.mode == Mode::Audit => "audit",
                (None, true) => "kept",
                (None, false) => "in force",
            }
            .to_owned(),
            problems,
            policy.origin.clone(),
        ]
    };
    let headings = [
        ("POLICY", Align::Left),
        ("INGRESS", Align::Left),
        ("EGRESS", Align::Left),
        ("PODS", Align::Right),
        ("HERE", Align::Right),
        ("STATE", Align::Left),
        ("PROBLEMS", Align::Right),
        ("FROM", Align::Left),
    ];
    table(headings, all.iter().map(row), "no policies: every pod is open")
}

pub(super) fn services(all: &[ServiceView]) -> String {
    let rows = all.iter().flat_map(|service| {
        service.frontends.iter().map(|frontend| {
            let address = if frontend.addr.is_ipv6() {
                format!("[{}]", frontend.addr)
            } else {
                frontend.addr.to_string()
            };
            [
                service.service.to_string(),
                format!("{address}:{}/{}", frontend.port, protocol_name(frontend.proto)),
                frontend.kind.clone(),
                if frontend.port_name.is_empty() { "-".to_owned() } else { frontend.port_name.clone() },
                if frontend.ready { "ready" } else { "pending" }.to_owned(),
                ways_of(frontend),
                frontend.backends.len().to_string(),
                match &frontend.outside {
                    None => backends(&frontend.backends),
                    Some(outside) => {
                        format!("{}; from outside {}", backends(&frontend.backends), backends(outside))
                    }
                },
            ]
        })
    });
    let headings = [
        ("SERVICE", Align::Left),
        ("ADDRESS", Align::Left),
        ("KIND", Align::Left),
        ("PORT", Align::Left),
        ("STATE", Align::Left),
        ("HOW", Align::Left),
        ("BACKENDS", Align::Right),
        ("WHO ANSWERS (* on this node)", Align::Left),
    ];
    table(headings, rows, "no services")
}

/// What is not as it is by default.
fn ways_of(frontend: &FrontendView) -> String {
    let mut words = Vec::new();
    if frontend.local {
        words.push("local".to_owned());
    }
    if frontend.affinity_s > 0 {
        words.push(format!("affinity {}s", frontend.affinity_s));
    }
    if frontend.maglev {
        words.push("maglev".to_owned());
    }
    match frontend.source_ranges.as_deref() {
        None => {}
        Some([]) => words.push("from nobody".to_owned()),
        Some(ranges) => words.push(format!("from {}", ranges.join(" "))),
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn backends(all: &[BackendView]) -> String {
    let mut words: Vec<String> = all.iter().take(MAX_BACKENDS).map(backend).collect();
    if all.len() > MAX_BACKENDS {
        words.push(format!("and {} more", all.len() - MAX_BACKENDS));
    }
    if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
}

fn backend(backend: &BackendView) -> String {
    let who = backend.pod.as_ref().map_or_else(|| backend.addr.to_string(), ToString::to_string);
    let here = if backend.local { "*" } else { "" };
    format!("{who}:{}{here}", backend.port)
}

fn names(names: &[Name]) -> String {
    if names.is_empty() { "by a policy that is gone".to_owned() } else { list(names) }
}

fn list<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}
