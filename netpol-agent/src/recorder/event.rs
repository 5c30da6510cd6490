//! What an event looks like.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use sha2::{Digest, Sha256};

use super::report::Report;

/// `reportingController` of every event.
pub const CONTROLLER: &str = "netpol.dev/agent";
/// Bytes of a note that the API server takes.
pub const MAX_NOTE: usize = 1024;
/// Of `reportingInstance`.
const MAX_INSTANCE: usize = 128;
/// Of a name, without the dot and the sixteen digits behind it.
const MAX_NAME: usize = 253 - 17;

/// Where an object stands in the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Regarding {
    pub(super) api_version: &'static str,
    pub(super) uid: String,
}

/// The event. Whoever has the same to say of the same object gives it the same name.
pub(super) fn event(report: &Report, regarding: &Regarding, node: &str, now: Timestamp) -> Event {
    let Report { object, field, reason, message, .. } = report;
    // Of objects of the cluster, events lie in `default`.
    let namespace = if object.namespace.is_empty() { "default" } else { &object.namespace };
    let note = if field.is_empty() { message.clone() } else { format!("{field}: {message}") };
    Event {
        metadata: ObjectMeta {
            name: Some(name(report, &regarding.uid)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(node, MAX_INSTANCE).to_owned()),
        action: Some("Enforce".to_owned()),
        reason: Some((*reason).to_owned()),
        note: Some(cut(&note, MAX_NOTE).to_owned()),
        type_: Some("Warning".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(regarding.api_version.to_owned()),
            kind: Some(object.kind.clone()),
            namespace: Some(object.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(object.name.clone()),
            uid: Some(regarding.uid.clone()).filter(|uid| !uid.is_empty()),
            field_path: Some(field.clone()).filter(|field| !field.is_empty()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

fn name(report: &Report, uid: &str) -> String {
    let Report { object, generation, field, reason, message, scope: _ } = report;
    let hash = Sha256::digest(format!("{uid}\n{generation}\n{reason}\n{field}\n{message}"));
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{digits}", cut(&object.name, MAX_NAME).trim_end_matches(['.', '-']))
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Name, recorder::report::Scope};

    fn report() -> Report {
        Report {
            object: Name::new("shop", "db").of_kind("NetworkPolicy"),
            generation: 2,
            field: "spec.ingress[0].from[0].ipBlock.cidr".into(),
            reason: "Invalid",
            message: "no prefix".into(),
            scope: Scope::Cluster,
        }
    }

    fn event_of(report: &Report, node: &str) -> Event {
        let regarding = Regarding { api_version: "networking.k8s.io/v1", uid: "u-1".into() };
        event(report, &regarding, node, "2026-03-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn agents_of_all_nodes_give_an_event_one_name_and_each_generation_another() {
        let name = |report: &Report, node: &str| event_of(report, node).metadata.name.unwrap();
        let first = name(&report(), "node1");
        assert!(first.starts_with("db.") && first.len() == 3 + 16, "{first}");
        assert_eq!(first, name(&report(), "node2"));
        let others = [
            Report { generation: 3, ..report() },
            Report { field: "spec".into(), ..report() },
            Report { message: "other".into(), ..report() },
        ];
        assert!(others.iter().all(|other| name(other, "node1") != first));
    }

    #[test]
    fn an_event_is_such_that_the_api_server_takes_it() {
        let event = event_of(&report(), "node1");
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(event.note.as_deref(), Some("spec.ingress[0].from[0].ipBlock.cidr: no prefix"));
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.field_path.as_deref(), Some("spec.ingress[0].from[0].ipBlock.cidr"));
        assert_eq!(
            (regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("NetworkPolicy"), Some("u-1"))
        );
        // Nothing is longer than it may be, and no character is cut.
        let long = Report {
            object: Name::new("", &"n".repeat(253)).of_kind("Node"),
            message: "ü".repeat(1000),
            ..report()
        };
        let event = event_of(&long, &"m".repeat(253));
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.metadata.name.unwrap().len(), 253);
        assert!(event.note.unwrap().len() <= MAX_NOTE);
        assert_eq!(event.reporting_instance.unwrap().len(), MAX_INSTANCE);
        assert_eq!(event.regarding.unwrap().namespace, None);
    }
}
