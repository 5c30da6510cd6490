//! Hubble's filters: the fields of one must all match, one value of each field is enough, and so is one filter of a list.
//! What is wanted is what the whitelist matches, without what the blacklist matches.

mod text;

use std::{net::IpAddr, time::SystemTime};

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;

use super::{
    identity, map,
    messages::{FlowFilter, IpVersion, TcpFlags, Verdict},
    view::View,
};
use crate::{
    flow::{FlowRecord, PartyRecord, Wanted},
    model::LabelSelector,
};
use text::{Pattern, Prefixed};

/// A filter that means nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {why}")]
pub(super) struct FilterError {
    /// Hubble's name of the field.
    field: &'static str,
    why: String,
}

type Test = Box<dyn Fn(&View<'_>) -> bool + Send + Sync>;

/// Which records a client has asked for.
pub(super) struct Asked {
    whitelist: Vec<Vec<Test>>,
    blacklist: Vec<Vec<Test>>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    forwarded: bool,
}

impl Asked {
    /// From the two lists of a request.
    pub(super) fn new(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Result<Self, FilterError> {
        let list = |filters: &[FlowFilter]| filters.iter().map(compile).collect::<Result<Vec<_>, _>>();
        let may_be_forwarded = |f: &FlowFilter| {
            f.drop_reason_desc.is_empty()
                && (f.verdict.is_empty() || f.verdict.contains(&Verdict::Forwarded.into()))
        };
        Ok(Self {
            forwarded: whitelist.is_empty() || whitelist.iter().any(may_be_forwarded),
            whitelist: list(whitelist)?,
            blacklist: list(blacklist)?,
            since: None,
            until: None,
        })
    }

    /// Only those of a span of time, both ends included.
    pub(super) fn within(
        self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> Result<Self, FilterError> {
        let moment = |field, time: Option<SystemTime>| {
            let moment = time.map(Timestamp::try_from).transpose();
            moment.map_err(|error| FilterError { field, why: error.to_string() })
        };
        Ok(Self { since: moment("since", since)?, until: moment("until", until)?, ..self })
    }

    /// Whether nothing can be wanted any more that is as late as this one.
    pub(super) fn is_over_at(&self, time: Timestamp) -> bool {
        self.until.is_some_and(|until| time > until)
    }
}

impl Wanted for Asked {
    fn wants(&self, record: &FlowRecord) -> bool {
        let view = View::of(record);
        let any = |list: &[Vec<Test>]| list.iter().any(|tests| tests.iter().all(|test| test(&view)));
        self.since.is_none_or(|since| record.time >= since)
            && !self.is_over_at(record.time)
            && (self.whitelist.is_empty() || any(&self.whitelist))
            && !any(&self.blacklist)
    }

    fn wants_forwarded(&self) -> bool {
        self.forwarded
    }
}

/// Tests of which all must hold.
fn compile(filter: &FlowFilter) -> Result<Vec<Test>, FilterError> {
    let mut tests = Vec::new();
    ends(filter, &mut tests)?;
    packet(filter, &mut tests)?;
    verdict(filter, &mut tests)?;
    if filter.experimental.as_ref().is_some_and(|experimental| !experimental.cel_expression.is_empty()) {
        return Err(refuse("cel_expression", "expressions are not evaluated here"));
    }
    let nobody_has: [usize; 13] = [
        filter.source_fqdn.len(),
        filter.destination_fqdn.len(),
        filter.http_status_code.len(),
        filter.http_method.len(),
        filter.http_path.len(),
        filter.http_url.len(),
        filter.http_header.len(),
        filter.dns_query.len(),
        filter.trace_id.len(),
        filter.source_ip_xlated.len(),
        filter.node_labels.len(),
        filter.source_cluster_name.len() + filter.destination_cluster_name.len(),
        filter.ip_trace_id.len(),
    ];
    if nobody_has.into_iter().any(|values| values > 0) {
        tests.push(Box::new(|_| false));
    }
    // Nothing is encrypted by netpol.
    any_of(&mut tests, filter.encrypted.clone(), |encrypted, _| !*encrypted);
    Ok(tests)
}

/// Which of the two ends a field is about.
type End = for<'a, 'r> fn(&'a View<'r>) -> Option<&'r PartyRecord>;

fn ends(filter: &FlowFilter, tests: &mut Vec<Test>) -> Result<(), FilterError> {
    let f = filter;
    let source: End = |view| view.source;
    let destination: End = |view| view.destination;
    for (end, ips, pods, labels, identities, workloads, ports, services) in [
        (
            source,
            ("source_ip", &f.source_ip),
            ("source_pod", &f.source_pod),
            ("source_label", &f.source_label),
            &f.source_identity,
            &f.source_workload,
            ("source_port", &f.source_port),
            ("source_service", &f.source_service),
        ),
        (
            destination,
            ("destination_ip", &f.destination_ip),
            ("destination_pod", &f.destination_pod),
            ("destination_label", &f.destination_label),
            &f.destination_identity,
            &f.destination_workload,
            ("destination_port", &f.destination_port),
            ("destination_service", &f.destination_service),
        ),
    ] {
        let is_source = std::ptr::fn_addr_eq(end, source);
        any_of(tests, parse(ips, network)?, move |net, view| {
            end(view).is_some_and(|party| net.contains(&party.address))
        });
        any_of(tests, parse(pods, Prefixed::new)?, move |name, view| {
            end(view).is_some_and(|party| name.matches(party.namespace.as_deref(), party.pod.as_deref()))
        });
        any_of(tests, parse(labels, selector)?, move |selector, view| {
            let node = &view.record.node;
            end(view).is_some_and(|party| selector.selects(|key| identity::label(party, node, key)))
        });
        any_of(tests, identities.clone(), move |identity, view| view.identity(end(view)) == *identity);
        any_of(tests, workloads.clone(), move |wanted, view| {
            end(view).and_then(|party| party.workload.as_deref()).is_some_and(|own| {
                (wanted.name.is_empty() || wanted.name == own.name)
                    && (wanted.kind.is_empty() || wanted.kind == own.kind)
            })
        });
        any_of(tests, parse(ports, text::ports)?, move |ports, view| {
            end(view).is_some_and(|party| party.port != 0 && ports.contains(&party.port))
        });
        any_of(tests, parse(services, Prefixed::new)?, move |name, view| {
            let addressed = if is_source { view.source } else { view.record.destination.as_ref() };
            let service = addressed.and_then(|party| party.service.as_ref());
            service.is_some_and(|own| name.matches(Some(&own.namespace), Some(&own.name)))
        });
    }
    Ok(())
}

fn packet(filter: &FlowFilter, tests: &mut Vec<Test>) -> Result<(), FilterError> {
    any_of(tests, parse(("protocol", &filter.protocol), text::protocol)?, |protocol, view| {
        protocol.iter().any(|name| view.record.protocol == **name)
    });
    any_of(tests, filter.tcp_flags.clone(), |wanted, view| {
        view.record.protocol == "TCP" && has_flags(&map::tcp_flags(&view.record.tcp_flags), wanted)
    });
    any_of(tests, filter.ip_version.clone(), |version, view| {
        let is = |address: IpAddr| if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        view.source.is_some_and(|party| i32::from(is(party.address)) == *version)
    });
    any_of(tests, filter.interface.clone(), |wanted, view| {
        wanted.name.is_empty() && wanted.index == view.record.interface && wanted.index != 0
    });
    any_of(tests, parse(("node_name", &filter.node_name), Pattern::node)?, |pattern, view| {
        pattern.matches(&view.record.node)
    });
    Ok(())
}

fn verdict(filter: &FlowFilter, tests: &mut Vec<Test>) -> Result<(), FilterError> {
    any_of(tests, filter.verdict.clone(), |verdict, view| i32::from(view.verdict()) == *verdict);
    any_of(tests, filter.traffic_direction.clone(), |way, view| i32::from(view.direction()) == *way);
    any_of(tests, filter.reply.clone(), |reply, view| view.is_reply() == Some(*reply));
    any_of(tests, filter.drop_reason_desc.clone(), |reason, view| {
        *reason != 0 && view.drop_reason() == *reason
    });
    any_of(tests, filter.event_type.clone(), |wanted, view| {
        view.is_event(wanted.r#type, wanted.match_sub_type.then_some(wanted.sub_type))
    });
    any_of(tests, filter.uuid.clone(), |uuid, view| map::uuid(view.record) == *uuid);
    Ok(())
}

/// Adds a test that holds if it holds for one of the values. Without values everything passes.
fn any_of<T: Send + Sync + 'static>(
    tests: &mut Vec<Test>,
    values: Vec<T>,
    holds: impl Fn(&T, &View<'_>) -> bool + Send + Sync + 'static,
) {
    if !values.is_empty() {
        tests.push(Box::new(move |view| values.iter().any(|value| holds(value, view))));
    }
}

fn parse<T>(
    (field, texts): (&'static str, &Vec<String>),
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, FilterError> {
    texts.iter().map(|text| read(text).map_err(|why| FilterError { field, why })).collect()
}

fn refuse(field: &'static str, why: &str) -> FilterError {
    FilterError { field, why: why.to_owned() }
}

fn network(text: &str) -> Result<IpNet, String> {
    let single = text.parse::<IpAddr>().map(IpNet::from);
    single.or_else(|_| text.parse()).map_err(|error: ipnet::AddrParseError| {
        format!("{text:?} is neither an address nor a prefix ({error})")
    })
}

fn selector(text: &str) -> Result<LabelSelector, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// All flags that are asked for are set.
fn has_flags(flags: &TcpFlags, wanted: &TcpFlags) -> bool {
    let each = |f: &TcpFlags| [f.fin, f.syn, f.rst, f.psh, f.ack, f.urg, f.ece, f.cwr, f.ns];
    each(wanted).into_iter().zip(each(flags)).all(|(wanted, set)| set || !wanted)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
