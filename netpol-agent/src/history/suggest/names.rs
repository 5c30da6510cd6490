use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use crate::{
    history::labels::name_in,
    oracle::{World, namespace_in},
};

/// Longer names are cut; the API takes 253 characters, a person does not.
const MAX_LENGTH: usize = 63;

/// Gives each policy a name that no other has.
pub(super) struct Names<'w> {
    taken: BTreeSet<String>,
    /// Policies that are there: their names, and the labels that they select if they select by nothing else.
    there: BTreeMap<&'w str, Option<&'w BTreeMap<String, String>>>,
}

impl<'w> Names<'w> {
    pub(super) fn new(world: &'w World, namespace: &str) -> Self {
        let own = world.policies.iter().filter(|policy| namespace_in(&policy.metadata) == namespace);
        let there = own.map(|policy| {
            let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
            let plain = selector.filter(|s| s.match_expressions.as_ref().is_none_or(Vec::is_empty));
            let labels = plain.and_then(|selector| selector.match_labels.as_ref());
            (policy.metadata.name.as_deref().unwrap_or_default(), labels)
        });
        Self { taken: BTreeSet::new(), there: there.collect() }
    }

    /// What a person would call it: as the workload, else as its labels say. A policy that is there and selects other pods keeps
    /// its name to itself.
    pub(super) fn give(&mut self, group: &Group, selector: &BTreeMap<String, String>) -> String {
        let base = base(group);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut all = [base.clone(), format!("{base}-seen")].into_iter().chain(numbered);
        let free = |name: &String| {
            let there = self.there.get(name.as_str());
            !self.taken.contains(name) && there.is_none_or(|labels| *labels == Some(selector))
        };
        let name = all.find(free).unwrap_or(base.clone());
        self.taken.insert(name.clone());
        name
    }
}

fn base(group: &Group) -> String {
    let mut workloads = group.workloads.iter();
    let name = match (workloads.next(), workloads.next()) {
        (Some(one), None) if one.kind == "Job" => name_in(&group.labels).unwrap_or(without_run(&one.name)),
        (Some(one), None) => &one.name,
        _ => name_in(&group.labels).or(group.labels.values().next().map(String::as_str)).unwrap_or_default(),
    };
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(allowed).take(MAX_LENGTH).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "pods".to_owned() } else { name.to_owned() }
}

/// A CronJob's jobs have the time in their names.
fn without_run(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, run)) if !stem.is_empty() && run.chars().all(|c| c.is_ascii_digit()) => stem,
        _ => name,
    }
}
