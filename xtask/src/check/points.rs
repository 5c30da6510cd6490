//! Rule: every test that the page on NetworkPolicy names is there, every scenario of a point is named there, and every
//! point has one.

use super::tree::Tree;

const PAGE: &str = "docs/networkpolicy.md";
const FOLDER: &str = "tests/scenarios/networkpolicy/";
const POINTS: usize = 27;

pub(super) fn check(tree: &Tree, found: &mut Vec<String>) {
    let Some(page) = tree.get(PAGE) else {
        found.push(format!("{PAGE}: not there"));
        return;
    };
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    for point in 1..=POINTS {
        if !rows.iter().any(|(number, tests)| *number == point && !tests.is_empty()) {
            found.push(format!("{PAGE}: no test for point {point}"));
        }
    }
    let named: Vec<_> = rows.iter().flat_map(|(_, tests)| tests).copied().collect();
    for test in named.iter().filter(|test| !exists(tree, test)) {
        found.push(format!("{PAGE}: there is no test {test}"));
    }
    for (file, _) in tree.iter() {
        if let Some(name) = file.strip_prefix(FOLDER)
            && !named.iter().any(|test| name.strip_suffix(".yaml") == Some(test))
        {
            found.push(format!("{file}: {PAGE} does not name it"));
        }
    }
}

/// `| 7 | what | choice | tests |`, the tests in backquotes.
fn row(line: &str) -> Option<(usize, Vec<&str>)> {
    let (number, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
    let (_, tests) = rest.strip_suffix(" |")?.rsplit_once(" | ")?;
    Some((number.parse().ok()?, tests.split('`').skip(1).step_by(2).collect()))
}

/// A scenario by its name, or `path.rs::function`.
fn exists(tree: &Tree, test: &str) -> bool {
    match test.split_once("::") {
        None => tree.get(&format!("{FOLDER}{test}.yaml")).is_some(),
        Some((file, function)) => {
            tree.get(file).is_some_and(|text| text.contains(&format!("fn {function}(")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "fn it_holds() {}";

    fn findings(page: &str) -> Vec<String> {
        let rest = (2..=POINTS).map(|n| format!("| {n} | what | | `01-a` |\n")).collect::<String>();
        let mut found = Vec::new();
        let page = page.to_owned() + &rest;
        check(
            &Tree::of(&[(PAGE, &page), ("tests/scenarios/networkpolicy/01-a.yaml", ""), ("a.rs", TEST)]),
            &mut found,
        );
        found
    }

    #[test]
    fn what_is_there_may_be_named() {
        assert!(findings("| 1 | what | why `not` | `01-a`, `a.rs::it_holds` |\n").is_empty());
    }

    #[test]
    fn what_is_not_there_is_found() {
        assert!(findings("| 1 | what | | `01-b` |\n")[0].contains("no test 01-b"));
        assert!(findings("| 1 | what | | `a.rs::it_hold` |\n")[0].contains("it_hold"));
        assert!(findings("| 1 | what | | |\n")[0].contains("point 1"));
    }

    #[test]
    fn a_scenario_that_is_not_named_is_found() {
        let mut found = Vec::new();
        check(&Tree::of(&[(PAGE, ""), ("tests/scenarios/networkpolicy/01-a.yaml", "")]), &mut found);
        assert!(found.last().unwrap().contains("01-a.yaml"));
    }
}
