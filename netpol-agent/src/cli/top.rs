//! `netpolctl top drops`

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::{
    Error, flows,
    flows_args::{By, TopFlags},
    output::Output,
    table::{Align, table},
};
use crate::{
    ctl::{
        Client,
        api::{Request, Response},
    },
    flow::{FlowRecord, PartyRecord},
};

/// Between two looks with `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

/// Drops that count as the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Row {
    /// What they have in common.
    what: String,
    /// Packets, with those that have no record of their own.
    packets: u64,
    /// When the first of them came, as far as that is kept.
    first: Timestamp,
    /// When the last one came.
    last: Timestamp,
}

pub(super) fn run(
    agent: &mut Client,
    flags: &TopFlags,
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    loop {
        agent.send(&Request::Flows(flags.request(Timestamp::now())))?;
        let mut counts = BTreeMap::new();
        loop {
            match agent.receive()? {
                Response::Flow(record) => count(&mut counts, &record, flags.by),
                Response::End => break,
                _ => return Err(agent.other_answer().into()),
            }
        }
        let rows = rows(counts, flags.limit);
        if json {
            output.json(&rows)?;
        } else {
            if flags.watch {
                output.clear()?;
            }
            output.lines(&render(&rows, flags.by))?;
        }
        if !flags.watch {
            return Ok(());
        }
        sleep(PAUSE);
    }
}

fn count(counts: &mut BTreeMap<String, Row>, record: &FlowRecord, by: By) {
    let what = what(record, by);
    let packets = record.suppressed.max(1);
    let first = record.first.unwrap_or(record.time);
    counts
        .entry(what.clone())
        .and_modify(|row| {
            row.packets += packets;
            row.first = row.first.min(first);
            row.last = row.last.max(record.time);
        })
        .or_insert(Row { what, packets, first, last: record.time });
}

fn what(record: &FlowRecord, by: By) -> String {
    // Of a pod that was too loud.
    let reason = record.reason.as_deref().unwrap_or("not told apart");
    match by {
        By::Reason => reason.to_owned(),
        By::Policy if record.policies.is_empty() => format!("by no policy: {reason}"),
        By::Policy => {
            let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
            format!("{} {}", policies.join(", "), record.direction)
        }
        By::Pods => {
            // Every connection has another port at its initiator's end.
            let source = record.source.as_ref().map(|party| PartyRecord { port: 0, ..party.clone() });
            let to = record.translated.as_ref().or(record.destination.as_ref());
            let ends = source.zip(to).map_or_else(
                || flows::place(record),
                |(from, to)| format!("{from} → {to} {}", record.protocol),
            );
            format!("{ends} {reason}")
        }
    }
}

/// The most frequent first; of equals the latest.
fn rows(counts: BTreeMap<String, Row>, limit: usize) -> Vec<Row> {
    let mut rows: Vec<_> = counts.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.packets, row.last)));
    rows.truncate(limit);
    rows
}

fn render(rows: &[Row], by: By) -> String {
    let heading = match by {
        By::Pods => "WHO TO WHOM",
        By::Policy => "ISOLATED BY",
        By::Reason => "REASON",
    };
    let headings = [("DROPS", Align::Right), ("LAST", Align::Left), (heading, Align::Left)];
    let row = |row: &Row| [row.packets.to_string(), format!("{:.0}", row.last), row.what.clone()];
    table(headings, rows.iter().map(row), "no drops")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow::tests_support::sample, model::Name};

    fn top(by: By, limit: usize) -> Vec<(u64, String)> {
        let mut counts = BTreeMap::new();
        let mut add = |change: &dyn Fn(&mut FlowRecord)| {
            let mut record = sample();
            change(&mut record);
            count(&mut counts, &record, by);
        };
        add(&|record| record.source.as_mut().unwrap().port = 1);
        add(&|record| record.source.as_mut().unwrap().port = 2);
        add(&|record| {
            (record.reason, record.suppressed) = (Some("spoofed".into()), 6);
            record.policies.clear();
        });
        // What a pod that scans has sent beyond what is told apart.
        add(&|record| {
            (record.source, record.destination, record.reason) = (None, None, None);
            record.endpoint = Some(Name::new("shop", "frontend"));
            (record.interface, record.suppressed) = (6, 9);
            record.policies.clear();
        });
        rows(counts, limit).into_iter().map(|row| (row.packets, row.what)).collect()
    }

    #[test]
    fn drops_are_counted_with_those_that_were_suppressed() {
        assert_eq!(
            top(By::Reason, 9),
            [(9, "not told apart".into()), (6, "spoofed".into()), (2, "policy".into())]
        );
        assert_eq!(top(By::Reason, 1), [(9, "not told apart".into())]);
        assert_eq!(
            top(By::Policy, 9),
            [
                (9, "by no policy: not told apart".into()),
                (6, "by no policy: spoofed".into()),
                (2, "shop/db-ingress ingress".into())
            ]
        );
        assert_eq!(
            top(By::Pods, 9),
            [
                (9, "shop/frontend on interface 6 not told apart".into()),
                (6, "shop/frontend → shop/db-0:5432 TCP spoofed".into()),
                (2, "shop/frontend → shop/db-0:5432 TCP policy".into())
            ]
        );
    }
}
