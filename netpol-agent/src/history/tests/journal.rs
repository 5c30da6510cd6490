use std::{fs, path::Path, sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{
    flow::{FlowRecord, FlowStore, Kind, Verdict, tests_support::sample},
    history::{History, HistoryOptions, Recalled, recall},
};

fn options(folder: &Path) -> HistoryOptions {
    HistoryOptions { folder: folder.to_owned(), max_bytes: 1 << 20, max_age: Duration::from_secs(86400) }
}

fn opened(port: u16) -> FlowRecord {
    let mut record = FlowRecord { kind: Kind::Opened, verdict: Verdict::Forwarded, reason: None, ..sample() };
    record.destination.as_mut().unwrap().port = port;
    record
}

fn at(seconds: i64, record: FlowRecord) -> FlowRecord {
    FlowRecord { time: record.time + SignedDuration::from_secs(seconds), ..record }
}

fn recalled(history: &History, since: Option<Timestamp>) -> Recalled {
    recall(Some(history), &FlowStore::new(1, |_| {}), since)
}

fn ports(recalled: &Recalled) -> Vec<(u16, u64)> {
    recalled.seen.iter().map(|seen| (seen.port, seen.count)).collect()
}

#[test]
fn what_was_seen_survives_the_agent_and_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let before = History::new(options(folder.path()));
    for second in 0..5 {
        assert!(before.take(&at(second, opened(80))));
    }
    assert_eq!((before.flush(false), before.flush(false)), (1, 0));
    // It goes on; what only counts on is not written before the period ends, and is known all the same.
    assert!(before.take(&at(9, opened(80))));
    assert_eq!((before.flush(false), ports(&recalled(&before, None))), (0, vec![(80, 6)]));
    assert_eq!((before.flush(true), ports(&recalled(&before, None))), (1, vec![(80, 6)]));
    drop(before);
    let after = History::new(options(folder.path()));
    let found = recalled(&after, None);
    assert_eq!((ports(&found), found.gaps.len()), (vec![(80, 6)], 0));
    let seen = &found.seen[0];
    assert_eq!((seen.first, seen.last), (sample().time, at(9, sample()).time));
    assert_eq!(seen.source.labels, sample().source.unwrap().labels);
    // A connection from before that goes on counts as seen, not as another one.
    assert!(after.take(&FlowRecord { kind: Kind::Heartbeat, ..at(60, opened(80)) }));
    assert_eq!(ports(&recalled(&after, Some(at(60, sample()).time))), [(80, 0)]);
    assert_eq!(ports(&recalled(&after, Some(at(61, sample()).time))), []);
}

#[test]
fn drops_for_other_reasons_are_no_matter_of_policy() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::new(options(folder.path()));
    history.take(&sample());
    history.take(&FlowRecord { reason: Some("invalid".into()), ..opened(81) });
    history.take(&FlowRecord { reason: Some("invalid".into()), verdict: Verdict::Dropped, ..opened(82) });
    assert_eq!(ports(&recalled(&history, None)), [(81, 1), (5432, 1)]);
}

#[test]
fn damaged_lines_are_skipped_and_spoil_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::new(options(folder.path()));
    history.take(&opened(80));
    history.flush(true);
    drop(history);
    let file = folder.path().join("flows.jsonl");
    let mut bytes = fs::read(&file).unwrap();
    // Half a line, as a machine leaves it that goes off, and a block of nothing.
    let half = bytes[..bytes.len() / 2].to_vec();
    bytes.extend([0; 64]);
    bytes.push(b'\n');
    bytes.extend(half);
    fs::write(&file, &bytes).unwrap();
    let history = History::new(options(folder.path()));
    history.take(&opened(81));
    history.flush(true);
    let found = recalled(&history, None);
    assert_eq!(ports(&found), [(80, 1), (81, 1)]);
    assert_eq!(found.gaps, ["2 damaged lines were skipped"]);
}

#[test]
fn what_the_disk_does_not_take_waits_and_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    fs::write(&place, "a file where the folder should be").unwrap();
    let history = History::new(options(&place));
    history.take(&opened(80));
    assert_eq!((history.flush(false), history.flush(true)), (0, 0));
    assert_eq!(ports(&recalled(&history, None)), [(80, 1)]);
    fs::remove_file(&place).unwrap();
    assert_eq!(history.flush(false), 1);
    assert_eq!(ports(&recalled(&history, None)), [(80, 1)]);
}

#[test]
fn memory_and_disk_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::with_capacity(options(folder.path()), 2);
    let room: Vec<bool> = (1..=3).map(|port| history.take(&opened(port))).collect();
    assert_eq!(room, [true, true, false]);
    let found = recalled(&history, None);
    assert_eq!(ports(&found), [(1, 1), (2, 1)]);
    assert!(found.gaps[0].contains("no room for 1 records"), "{:?}", found.gaps);

    let small = HistoryOptions { max_bytes: 100_000, ..options(folder.path()) };
    let history = History::new(small);
    for port in 1..=1000 {
        history.take(&opened(port));
        if port % 10 == 0 {
            history.flush(true);
        }
    }
    let files = fs::read_dir(folder.path()).unwrap();
    let size: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((50_000..=100_000).contains(&size), "{size}");
    let kept = ports(&recalled(&history, None));
    assert_eq!(kept.last(), Some(&(1000, 1)));
    assert!(kept.len() < 1000, "{}", kept.len());

    let short = HistoryOptions { max_age: Duration::ZERO, ..options(folder.path()) };
    History::new(short).flush(false);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn without_a_folder_memory_answers_and_says_so() {
    let records = FlowStore::new(10, |_| {});
    records.add(Arc::new(opened(80)));
    let found = recall(None, &records, None);
    assert_eq!((ports(&found), found.place.as_str()), (vec![(80, 1)], "memory"));
    assert!(found.gaps[0].contains("--flow-store"));
}
