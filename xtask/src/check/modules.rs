//! Rule: every source file is compiled. A file that no `mod` names is dead, and gets edited all the same.

use std::collections::BTreeSet;

use super::tree::Tree;

pub(super) fn check(tree: &Tree, found: &mut Vec<String>) {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> =
        tree.rust().map(|(path, _)| path.to_owned()).filter(|path| is_root(path)).collect();
    while let Some(path) = open.pop() {
        let Some(text) = tree.get(&path) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let folder = children_folder(&path);
        for name in declared(text) {
            open.push(format!("{folder}/{name}.rs"));
            open.push(format!("{folder}/{name}/mod.rs"));
        }
        let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        open.extend(named_by_path(text).map(|file| format!("{beside}/{file}")));
    }
    for (path, _) in tree.rust().filter(|(path, _)| !reached.contains(*path)) {
        found.push(format!("{path}: no `mod` leads to it"));
    }
}

/// A target's first file, by cargo's conventions: `CRATE/build.rs`, `CRATE/src/{lib,main}.rs`, `CRATE/src/bin/X.rs`,
/// `CRATE/tests/X.rs` and the like.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        [_, "build.rs"]
            | [_, "src", "lib.rs" | "main.rs"]
            | [_, "src", "bin", _]
            | [_, "src", "bin", _, "main.rs"]
            | [_, "tests" | "benches" | "examples", _]
            | [_, "tests" | "benches" | "examples", _, "main.rs"]
            // The crates inside of a crate's folder.
            | ["tests", "browser" | "fuzz", "src", "lib.rs"]
            | ["tests", "fuzz", "src", "bin", _]
            | ["tests", "fuzz", "tests", _]
    )
}

/// Where the modules that a file declares lie.
fn children_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if is_root(path) || file == "mod.rs" {
        folder.to_owned()
    } else {
        format!("{folder}/{}", file.trim_end_matches(".rs"))
    }
}

/// The names in lines such as `mod a;` and `pub(crate) mod a;`.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let name = line.trim().strip_suffix(';')?;
        let (before, name) = name.rsplit_once("mod ").unwrap_or(("no", name));
        (before.is_empty() || before.starts_with("pub")).then_some(name)
    })
}

/// The files in lines such as `#[path = "a_tests.rs"]`, relative to the file that holds the line.
fn named_by_path(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let mut found = Vec::new();
        check(&Tree::of(files), &mut found);
        found
    }

    #[test]
    fn a_file_that_nothing_names_is_found() {
        let files = [
            ("a/src/lib.rs", "pub mod x;\n"),
            ("a/src/x/mod.rs", "mod y;\n"),
            ("a/src/x/y.rs", ""),
            ("a/src/z.rs", ""),
        ];
        assert_eq!(findings(&files), ["a/src/z.rs: no `mod` leads to it"]);
    }

    #[test]
    fn tests_in_a_file_of_their_own_are_reached() {
        let files = [
            ("a/src/lib.rs", "mod x;"),
            ("a/src/x.rs", "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;"),
            ("a/src/x_tests.rs", ""),
        ];
        assert!(findings(&files).is_empty());
    }

    #[test]
    fn modules_beside_an_integration_test_are_reached() {
        let files = [
            ("a/tests/t.rs", "mod common;\n"),
            ("a/tests/common/mod.rs", "mod deep;"),
            ("a/tests/common/deep.rs", ""),
        ];
        assert!(findings(&files).is_empty());
    }
}
