//! Rule: nothing names a place on the machine that it was written on.

use std::env;

use super::tree::Tree;
use crate::paths::Paths;

pub(super) fn check(tree: &Tree, paths: &Paths, found: &mut Vec<String>) {
    let home = env::var("HOME").unwrap_or_default();
    let places = [paths.root.display().to_string(), home];
    // A folder right below `/`, such as `/src`, is a word that may mean something else.
    let places: Vec<String> = places
        .iter()
        .filter(|place| place.matches('/').count() > 1)
        .map(|place| format!("{place}/"))
        .collect();
    for (path, text) in tree.iter() {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(place) = places.iter().find(|place| line.contains(*place)) {
                found.push(format!("{path}:{number}: {place} is a path of this machine"));
            }
        }
    }
}
