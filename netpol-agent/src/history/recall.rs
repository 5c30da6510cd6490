use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
};

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    journal::{History, Look},
    observation::{Key, Observation},
};
use crate::flow::{Filter, FlowStore};

/// What is known of the past.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Recalled {
    /// What was seen, each key once.
    #[serde(skip)]
    pub seen: Vec<Observation>,
    /// Where it was kept: a folder, or `memory`.
    pub place: String,
    /// When the first of them was seen.
    pub from: Option<Timestamp>,
    /// What is missing or could not be read, in words.
    pub gaps: Vec<String>,
}

/// Everything since then: from the history if there is one, else from the records in memory.
#[must_use]
pub fn recall(history: Option<&History>, records: &FlowStore, since: Option<Timestamp>) -> Recalled {
    let mut known = HashMap::new();
    let mut add = |seen: Observation| {
        if since.is_none_or(|since| seen.last >= since) {
            insert(&mut known, seen);
        }
    };
    let mut gaps = Vec::new();
    let place = match history {
        Some(history) => {
            let Look { files, pending, left_out, unreadable } = history.look();
            gaps.extend(unreadable);
            let mut damaged = 0;
            for file in files {
                for line in BufReader::new(file).split(b'\n') {
                    match line {
                        Ok(line) if line.is_empty() => {}
                        Ok(line) => match serde_json::from_slice(&line) {
                            Ok(seen) => add(seen),
                            Err(_) => damaged += 1,
                        },
                        Err(error) => {
                            gaps.push(format!("a file could not be read to its end: {error}"));
                            break;
                        }
                    }
                }
            }
            pending.into_iter().for_each(&mut add);
            if damaged > 0 {
                gaps.push(format!("{damaged} damaged lines were skipped"));
            }
            if left_out > 0 {
                gaps.push(format!("there was no room for {left_out} records since the agent started"));
            }
            history.folder().display().to_string()
        }
        None => {
            let all = records.recent(&Filter::default(), usize::MAX);
            all.iter().filter_map(|record| Observation::of(record)).for_each(&mut add);
            gaps.push(
                "only the last records in memory are known, with forwarded connections only while somebody \
                 followed them: --flow-store keeps more"
                    .to_owned(),
            );
            "memory".to_owned()
        }
    };
    let mut seen: Vec<_> = known.into_iter().collect();
    seen.sort_by(|(a, _), (b, _)| a.cmp(b));
    let seen: Vec<_> = seen.into_iter().map(|(_, seen)| seen).collect();
    Recalled { from: seen.iter().map(|seen| seen.first).min(), seen, place, gaps }
}

fn insert(known: &mut HashMap<Key, Observation>, seen: Observation) {
    match known.entry(seen.key()) {
        std::collections::hash_map::Entry::Occupied(row) => row.into_mut().add(seen),
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(seen);
        }
    }
}
