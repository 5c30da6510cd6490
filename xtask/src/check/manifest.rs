//! Rule: the crates depend on each other only along the arrows of docs/architecture.md.

use super::tree::Tree;

/// Crate → what it may use of ours.
const ARROWS: &[(&str, &[&str])] = &[
    ("netpol-common", &[]),
    ("netpol-ebpf", &["netpol-common"]),
    ("netpol-cni", &[]),
    ("netpol-agent", &["netpol-browser", "netpol-cni", "netpol-common"]),
    ("tests", &["netpol-agent", "netpol-browser", "netpol-cni", "netpol-common"]),
    ("tests/browser", &[]),
    ("tests/fuzz", &["netpol-agent", "netpol-common", "netpol-tests"]),
    ("xtask", &[]),
];

pub(super) fn check(tree: &Tree, found: &mut Vec<String>) {
    for (folder, allowed) in ARROWS {
        let path = format!("{folder}/Cargo.toml");
        let Some(text) = tree.get(&path) else {
            found.push(format!("{path}: not there"));
            continue;
        };
        for name in dependencies(text).filter(|name| is_ours(name) && !allowed.contains(name)) {
            found.push(format!("{path}: may not depend on {name}"));
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("netpol-") || name == "xtask"
}

/// The keys of every section whose name ends with `dependencies`.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if let Some(section) = line.trim().strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
            return None;
        }
        let name = line.split(['=', '.', ' ']).next()?.trim();
        (inside && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_arrow_is_found() {
        let plain = "[dependencies]\nanyhow = \"1\"\n";
        let tree = Tree::of(&[
            ("netpol-common/Cargo.toml", plain),
            ("netpol-ebpf/Cargo.toml", plain),
            ("netpol-cni/Cargo.toml", plain),
            (
                "netpol-agent/Cargo.toml",
                "[package]\nname = \"netpol-agent\"\n[dev-dependencies]\nnetpol-tests.workspace = true\n",
            ),
            ("tests/Cargo.toml", "[dependencies]\nnetpol-agent = { workspace = true }\n"),
            ("tests/browser/Cargo.toml", plain),
            ("tests/fuzz/Cargo.toml", plain),
            ("xtask/Cargo.toml", plain),
        ]);
        let mut found = Vec::new();
        check(&tree, &mut found);
        assert_eq!(found, ["netpol-agent/Cargo.toml: may not depend on netpol-tests"]);
    }
}
