//! Rule: the table of drop reasons that people read is the list in the code.

use super::tree::Tree;

const CODE: &str = "netpol-common/src/reason.rs";
const PAGE: &str = "docs/drop-reasons.md";

pub(super) fn check(tree: &Tree, found: &mut Vec<String>) {
    let (Some(code), Some(page)) = (tree.get(CODE), tree.get(PAGE)) else {
        found.push(format!("{CODE} or {PAGE}: not there"));
        return;
    };
    let listed: Vec<(&str, &str)> = code.lines().filter_map(in_code).collect();
    let told: Vec<(&str, &str)> = page.lines().filter_map(in_page).collect();
    if listed.is_empty() {
        found.push(format!("{CODE}: no reason is recognised in it"));
    }
    for (number, name) in listed.iter().filter(|reason| !told.contains(reason)) {
        found.push(format!("{PAGE}: lacks `{name}` ({number})"));
    }
    for (number, name) in told.iter().filter(|reason| !listed.contains(reason)) {
        found.push(format!("{PAGE}: has `{name}` ({number}), which {CODE} has not"));
    }
}

/// `Policy = 1, "policy";`
fn in_code(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.trim().strip_suffix("\";")?.split_once(" = ")?;
    rest.split_once(", \"")
}

/// `| 1 | policy | …`, the word in backquotes.
fn in_page(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let number = cells.next()?;
    number.parse::<u8>().ok()?;
    Some((number, cells.next()?.strip_prefix('`')?.strip_suffix('`')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(page: &str) -> Vec<String> {
        let code =
            "reasons! {\n    /// Why.\n    Policy = 1, \"policy\";\n    Pending = 2, \"pending\";\n}\n";
        let mut found = Vec::new();
        check(&Tree::of(&[(CODE, code), (PAGE, page)]), &mut found);
        found
    }

    #[test]
    fn the_same_list_is_fine() {
        assert!(
            findings("| number | word |\n|---|---|\n| 1 | `policy` | a |\n| 2 | `pending` | b |\n")
                .is_empty()
        );
    }

    #[test]
    fn another_number_is_found_on_both_sides() {
        assert_eq!(findings("| 1 | `policy` | a |\n| 3 | `pending` | b |\n").len(), 2);
    }
}
