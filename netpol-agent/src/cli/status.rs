//! `netpolctl status`

use super::table::{Align, table};
use crate::{
    ctl::api::{Memory, Status},
    model::Level,
};

/// Problems below this many are listed in full.
const MAX_PROBLEMS: usize = 50;

pub(super) fn render(status: &Status) -> String {
    let mut text = summary(status);
    if !status.watches.is_empty() {
        text.push('\n');
        text.push_str(&table(
            [("WATCH", Align::Left), ("STATE", Align::Left), ("VERSION", Align::Left)],
            status.watches.iter().map(|w| [w.kind.clone(), w.phase.clone(), w.version.clone()]),
            "no watches",
        ));
    }
    text.push('\n');
    text.push_str(&table(
        [
            ("TABLE", Align::Left),
            ("ROWS", Align::Right),
            ("CAPACITY", Align::Right),
            ("FULL", Align::Right),
            ("MEMORY", Align::Right),
        ],
        status.tables.iter().map(|fill| {
            let share = (fill.rows * 100).checked_div(fill.capacity).unwrap_or(0);
            [
                fill.table.clone(),
                fill.rows.to_string(),
                fill.capacity.to_string(),
                format!("{share}%"),
                mebibytes(fill.bytes),
            ]
        }),
        "no tables",
    ));
    text.push('\n');
    text.push_str(&table(
        [
            ("VERDICT", Align::Left),
            ("DIRECTION", Align::Left),
            ("PACKETS", Align::Right),
            ("BYTES", Align::Right),
        ],
        status.packets.iter().map(|count| {
            [
                count.verdict.clone(),
                count.direction.clone(),
                count.packets.to_string(),
                count.bytes.to_string(),
            ]
        }),
        "no packets yet",
    ));
    text.push('\n');
    text.push_str(&table(
        [("COUNTER", Align::Left), ("COUNT", Align::Right)],
        status.counters.iter().map(|count| [count.name.clone(), count.count.to_string()]),
        "no counters",
    ));
    text.push('\n');
    text + &problems(status)
}

fn summary(status: &Status) -> String {
    let Status { node, version, abi, source, synced, in_sync, epoch, endpoints, flows, .. } = status;
    let delivered = if *synced { "has delivered everything" } else { "has not delivered everything yet" };
    let in_sync = match (*in_sync, status.refusals.len()) {
        (true, _) => "yes".to_owned(),
        (false, 0) => "no, being written".to_owned(),
        (false, n) => format!("no, {n} refused (below)"),
    };
    let pods =
        format!("{} ready, {} pending, {} changing", endpoints.ready, endpoints.pending, endpoints.changing);
    let records = format!(
        "{} seen, {} of {} kept, {} following, {} lost to slow followers",
        flows.seen, flows.kept, flows.capacity, flows.followers, flows.lost
    );
    let Memory { agent: resident, maps, node: whole } = status.memory;
    let memory =
        format!("{} agent, {} kernel maps, of {}", mebibytes(resident), mebibytes(maps), mebibytes(whole));
    let rows = [
        ("node", node.clone()),
        ("agent", format!("{version}, ABI {abi}")),
        ("source", format!("{source}, {delivered}")),
        ("in sync", format!("{in_sync} (epoch {epoch})")),
        ("pods", pods),
        ("policies", status.policies.to_string()),
        ("services", status.services.to_string()),
        ("for the node", status.node_services.clone()),
        ("from outside", status.external_mode.clone()),
        ("across nodes", status.across_nodes.clone()),
        ("xdp", format!("{} ({} frames)", status.xdp, status.xdp_frames)),
        ("flow records", records),
        ("memory", memory),
    ];
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        text.push_str(&format!("{name:<13} {value}\n"));
        text
    })
}

/// With a digit behind the point; a dash where the kernel does not say.
fn mebibytes(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)) }
}

fn problems(status: &Status) -> String {
    let mut text = String::new();
    for refusal in &status.refusals {
        text.push_str(&format!("refused  {refusal}\n"));
    }
    if status.problems.is_empty() {
        text.push_str("no problems\n");
    }
    let mut problems: Vec<_> = status.problems.iter().collect();
    problems.sort_by_key(|problem| problem.level);
    for problem in problems.iter().take(MAX_PROBLEMS) {
        let level = match problem.level {
            Level::Error => "problem",
            Level::Note => "note",
        };
        text.push_str(&format!("{level:<8} {problem}\n"));
    }
    if problems.len() > MAX_PROBLEMS {
        text.push_str(&format!("… and {} more: netpolctl status -o json\n", problems.len() - MAX_PROBLEMS));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::{State as _, fixture::Fixture};

    #[tokio::test]
    async fn memory_is_told_of_the_agent_of_all_maps_and_of_each() {
        let text = render(&Fixture::new().status().await);
        let begins = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let memory = "60.0 MiB agent, 100.0 MiB kernel maps, of 8192.0 MiB";
        assert!(begins("memory ").ends_with(memory), "{text}");
        for (table, bytes) in [("np_ct ", " 90.0 MiB"), ("np_peer ", " 1.5 MiB"), ("np_fe ", " -")] {
            assert!(begins(table).ends_with(bytes), "{table}: {text}");
        }
    }
}
