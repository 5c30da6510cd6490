//! Finds a rule in a policy's text.

use serde::Serialize;

/// Lines of a text, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Lines {
    first: usize,
    /// The one after the last.
    end: usize,
}

/// Where the value at `path` (`spec.ingress[1]`) stands in YAML as our serialiser writes it: in blocks, what belongs to a key or an
/// item further in than it. `None` if it is not there.
pub(super) fn lines_of(yaml: &str, path: &str) -> Option<Lines> {
    if path.is_empty() {
        return None;
    }
    // The dash of an item belongs to its first line, whose content stands where that of the others does.
    let mut lines: Vec<String> = yaml.lines().map(str::to_owned).collect();
    let mut found = Lines { first: 0, end: lines.len() };
    let mut inside = found;
    for step in path.split('.') {
        let (key, indexes) = step.split_once('[').map_or((step, None), |(key, rest)| (key, Some(rest)));
        found = key_in(&lines, inside, key)?;
        inside = Lines { first: found.first + 1, ..found };
        for index in indexes.iter().flat_map(|rest| rest.trim_end_matches(']').split("][")) {
            found = item_in(&lines, inside, index.parse().ok()?)?;
            inside = found;
            lines[found.first] = lines[found.first].replacen("- ", "  ", 1);
        }
    }
    Some(found)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_item(line: &str) -> bool {
    let content = line.trim_start_matches(' ');
    content == "-" || content.starts_with("- ")
}

/// The line of the key and those of its value.
fn key_in(lines: &[String], Lines { first, end }: Lines, key: &str) -> Option<Lines> {
    let depth = lines.get(first..end)?.iter().map(|line| indent(line)).min()?;
    let is_key = |line: &String| {
        indent(line) == depth && line[depth..].strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
    };
    let at = first + lines[first..end].iter().position(is_key)?;
    // A list may stand as far out as its key.
    let inside = |line: &&String| indent(line) > depth || (indent(line) == depth && is_item(line));
    let more = lines[at + 1..end].iter().take_while(inside).count();
    Some(Lines { first: at, end: at + 1 + more })
}

fn item_in(lines: &[String], Lines { first, end }: Lines, index: usize) -> Option<Lines> {
    let depth = lines.get(first..end)?.iter().map(|line| indent(line)).min()?;
    let begins = |at: &usize| indent(&lines[*at]) == depth && is_item(&lines[*at]);
    let mut items = (first..end).filter(begins).skip(index);
    let at = items.next()?;
    Some(Lines { first: at, end: items.next().unwrap_or(end) })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicy;

    use super::*;

    #[test]
    fn a_rule_is_found_in_what_the_serialiser_writes() {
        let policy: NetworkPolicy = serde_saphyr::from_str(
            "
            apiVersion: networking.k8s.io/v1
            kind: NetworkPolicy
            metadata: {name: db, namespace: shop, annotations: {note: \"a\\nspec:\\n  ingress:\\n  - from: []\"}}
            spec:
              podSelector: {}
              ingress:
              - {}
              - from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 192.0.2.0/24}}]
                ports: [{port: 5432}]
              egress: [{to: [{podSelector: {}}]}]
            ",
        )
        .unwrap();
        let yaml = serde_saphyr::to_string(&policy).unwrap();
        let text = |path: &str| {
            let Lines { first, end } = lines_of(&yaml, path)?;
            Some(yaml.lines().skip(first).take(end - first).map(str::trim).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(text("spec.ingress[0]").as_deref(), Some("- {}"), "{yaml}");
        assert_eq!(
            text("spec.ingress[1]").as_deref(),
            Some(
                "- from:|- podSelector:|matchLabels:|app: web|- ipBlock:|cidr: 192.0.2.0/24|ports:|- port: 5432"
            ),
            "{yaml}"
        );
        assert_eq!(
            text("spec.ingress[1].from[1]").as_deref(),
            Some("- ipBlock:|cidr: 192.0.2.0/24"),
            "{yaml}"
        );
        assert_eq!(text("spec.egress[0]").as_deref(), Some("- to:|- podSelector: {}"), "{yaml}");
        for absent in ["", "spec.ingress[2]", "spec.nothing", "spec.ingress[x]", "metadata[0]"] {
            assert_eq!(text(absent), None, "{absent}");
        }
    }
}
