use std::collections::BTreeSet;

use prost_types::FieldMask;

use super::messages::{Endpoint, Flow};

/// Which fields a client wants. Direction, policies and reason are never left out: the `hubble` command of 1.19 prints them,
/// and does not ask for them.
pub(super) struct Mask(Option<BTreeSet<String>>);

impl Mask {
    /// No mask, or an empty one, wants everything. Fields that do not exist here are empty anyway.
    pub(super) fn new(mask: Option<FieldMask>) -> Self {
        Self(mask.filter(|mask| !mask.paths.is_empty()).map(|mask| mask.paths.into_iter().collect()))
    }

    /// Empties what is not wanted.
    pub(super) fn apply(&self, mut flow: Flow) -> Flow {
        let Some(paths) = &self.0 else { return flow };
        // A path names a field, or something within it.
        let begins = |field: &str| {
            let within = format!("{field}.");
            paths.iter().any(|path| path == field || path.starts_with(&within))
        };
        let Flow { time, uuid, emitter, ip, l4, source, destination, node_name, .. } = &mut flow;
        clear(time, begins("time"));
        clear(uuid, begins("uuid"));
        clear(emitter, begins("emitter"));
        clear(ip, begins("IP"));
        clear(l4, begins("l4"));
        for (field, end) in [("source", source), ("destination", destination)] {
            clear(end, begins(field));
            if let Some(end) = end.as_mut().filter(|_| !paths.contains(field)) {
                endpoint(end, |part| begins(&format!("{field}.{part}")));
            }
        }
        clear(node_name, begins("node_name"));
        clear(&mut flow.verdict, begins("verdict"));
        clear(&mut flow.r#type, begins("Type"));
        clear(&mut flow.event_type, begins("event_type"));
        clear(&mut flow.source_service, begins("source_service"));
        clear(&mut flow.destination_service, begins("destination_service"));
        clear(&mut flow.is_reply, begins("is_reply"));
        clear(&mut flow.interface, begins("interface"));
        clear(&mut flow.summary, begins("Summary"));
        flow
    }
}

fn endpoint(end: &mut Endpoint, wanted: impl Fn(&str) -> bool) {
    clear(&mut end.id, wanted("ID"));
    clear(&mut end.identity, wanted("identity"));
    clear(&mut end.namespace, wanted("namespace"));
    clear(&mut end.labels, wanted("labels"));
    clear(&mut end.pod_name, wanted("pod_name"));
    clear(&mut end.workloads, wanted("workloads"));
}

fn clear<T: Default>(field: &mut T, wanted: bool) {
    if !wanted {
        *field = T::default();
    }
}
