//! Numbers of the dataplane → words of [`Status`](super::api::Status).

use std::collections::BTreeMap;

use netpol_common::{
    direction::Direction,
    reason::DropReason,
    stats::{self, Counter, Extra},
};

use super::api::{
    EndpointCounts, EndpointState, EndpointView, EventCounter, PacketCounter, TableFill, WatchView,
};
use crate::{
    dataplane::{Capacity, RowCounts},
    source::Watch,
};

/// Packets by verdict and direction, from the rows of `np_stats`; what never happened is left out.
#[must_use]
pub fn packet_counters(rows: &[Counter]) -> Vec<PacketCounter> {
    let verdicts = std::iter::once((0, "forwarded"))
        .chain(DropReason::ALL.iter().map(|reason| (*reason as u8, reason.name())));
    let all = verdicts.flat_map(|verdict| [Direction::Ingress, Direction::Egress].map(|d| (verdict, d)));
    all.filter_map(|((number, name), direction)| {
        let Counter { packets, bytes } = *rows.get(stats::index(number, direction) as usize)?;
        let direction = direction.name().to_owned();
        (packets > 0).then(|| PacketCounter { verdict: name.to_owned(), direction, packets, bytes })
    })
    .collect()
}

/// The counters that are no verdict, all of them.
#[must_use]
pub fn event_counters(rows: &[Counter]) -> Vec<EventCounter> {
    let count = |extra: &Extra| rows.get(extra.index() as usize).map_or(0, |row| row.packets);
    Extra::ALL.iter().map(|e| EventCounter { name: e.name().to_owned(), count: count(e) }).collect()
}

/// How full the maps that the agent writes are; of a map for each family, the fuller one. `connections` are entries and
/// capacity of both connection tables, `memory` is what each map takes.
#[must_use]
pub fn table_fills(
    rows: RowCounts,
    capacity: &Capacity,
    connections: [(usize, usize); 2],
    memory: &BTreeMap<&'static str, u64>,
) -> Vec<TableFill> {
    let [four, six] = connections;
    let (entries, room) = four.max(six);
    let fuller = |[four, six]: [usize; 2]| four.max(six);
    [
        ("np_ct", entries, room),
        ("np_ep", rows.endpoints, capacity.endpoints),
        ("np_peer", fuller(rows.peers), capacity.peers),
        ("np_cidr", fuller(rows.cidrs), capacity.cidrs),
        ("np_policy", rows.policy, capacity.policy),
        ("np_port", rows.ports, capacity.ports),
        ("np_fe", fuller(rows.frontends), capacity.frontends),
        ("np_svc", rows.services, capacity.services),
        ("np_be", fuller(rows.backends), capacity.backends),
    ]
    .map(|(table, rows, capacity)| {
        let maps = memory.iter().filter(|(map, _)| map.trim_end_matches(['4', '6']) == table);
        TableFill { table: table.to_owned(), rows, capacity, bytes: maps.map(|(_, bytes)| bytes).sum() }
    })
    .into()
}

/// The watches, in words.
#[must_use]
pub fn watch_views(watches: BTreeMap<&'static str, Watch>) -> Vec<WatchView> {
    let view = |(kind, Watch { phase, version, heard: _, restarts: _ }): (&str, Watch)| WatchView {
        kind: kind.to_owned(),
        phase: phase.name().to_owned(),
        version,
    };
    watches.into_iter().map(view).collect()
}

/// Pods by state.
#[must_use]
pub fn endpoint_counts(endpoints: &[EndpointView]) -> EndpointCounts {
    let mut counts = EndpointCounts::default();
    for endpoint in endpoints {
        match endpoint.state {
            EndpointState::Ready => counts.ready += 1,
            EndpointState::Pending => counts.pending += 1,
            EndpointState::Changing => counts.changing += 1,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_and_silent_ones_left_out() {
        let mut rows = vec![Counter::default(); stats::ROWS as usize];
        rows[stats::index(0, Direction::Egress) as usize] = Counter { packets: 7, bytes: 700 };
        rows[stats::index(DropReason::Policy as u8, Direction::Ingress) as usize] =
            Counter { packets: 2, bytes: 148 };
        rows[Extra::LostDrops.index() as usize].packets = 3;
        let packets = packet_counters(&rows);
        let words: Vec<_> =
            packets.iter().map(|p| (p.verdict.as_str(), p.direction.as_str(), p.packets)).collect();
        assert_eq!(words, [("forwarded", "egress", 7), ("policy", "ingress", 2)]);
        let events = event_counters(&rows);
        assert_eq!((events[0].name.as_str(), events[0].count), ("lost-drop-events", 3));
        assert_eq!(events.len(), Extra::ALL.len());
    }
}
