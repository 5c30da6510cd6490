//! Rule: a source file has at most 400 lines, so that it holds one concept.

use super::tree::Tree;

const LINES: usize = 400;

pub(super) fn check(tree: &Tree, found: &mut Vec<String>) {
    for (path, text) in tree.rust() {
        let lines = text.lines().count();
        if lines > LINES {
            found.push(format!("{path}: {lines} lines, at most {LINES}: split it by concept"));
        }
    }
}
