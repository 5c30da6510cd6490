//! Text → documents. Each document of a file is parsed on its own, so that a broken one costs no other.

use serde_json::Value;

/// One document of a file that has content.
#[derive(Debug)]
pub(super) struct Document {
    /// From 1, counting documents with content.
    pub(super) number: usize,
    /// What it says.
    pub(super) value: Result<Value, SyntaxError>,
}

/// Why a document could not be parsed.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// Line and column in the file, from 1; empty if they are not known.
    pub(super) place: String,
    /// What is wrong, in one line.
    pub(super) message: String,
}

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Syntax {
    /// Documents between lines of `---`.
    Yaml,
    /// Values one after the other.
    Json,
}

/// Every document of a text, in order; documents without content are left out.
pub(super) fn documents(text: &str, syntax: Syntax) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let values = match syntax {
        Syntax::Yaml => split(text).into_iter().map(|chunk| parse_yaml(&chunk)).collect(),
        Syntax::Json => parse_json(text),
    };
    let contents = values.into_iter().filter(|value| !matches!(value, Ok(Value::Null)));
    contents.enumerate().map(|(i, value)| Document { number: i + 1, value }).collect()
}

/// A piece of a YAML file that holds one document.
struct Chunk<'a> {
    text: &'a str,
    /// Lines before it.
    offset: u64,
}

/// Cuts at lines that begin with `---`. YAML forbids such lines inside a document, whatever surrounds them.
fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut offset) = (0, 0);
    let mut position = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        // Directives stand before the marker of the document that they belong to.
        let only_directives = text[start..position].lines().any(|l| l.starts_with('%'))
            && text[start..position].lines().all(|l| l.is_empty() || l.starts_with(['%', '#']));
        if marker && !only_directives {
            chunks.push(Chunk { text: &text[start..position], offset });
            (start, offset) = (position, number as u64);
        }
        position += line.len();
    }
    chunks.push(Chunk { text: &text[start..], offset });
    chunks
}

fn parse_yaml(chunk: &Chunk<'_>) -> Result<Value, SyntaxError> {
    // The limits of the parser are meant for input from strangers; a List of ten thousand pods exceeds them.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    serde_saphyr::from_str_with_options(chunk.text, options).map_err(|e| {
        let location = e.location().filter(|l| l.line() > 0);
        let text = e.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let message = location.and_then(|l| {
            // The place has its own field, with lines counted from the start of the file.
            text.strip_suffix(&format!(" at line {}, column {}", l.line(), l.column()))
        });
        SyntaxError {
            place: location
                .map(|l| format!("line {}, column {}", l.line() + chunk.offset, l.column()))
                .unwrap_or_default(),
            message: one_line(message.unwrap_or(&text)),
        }
    })
}

fn parse_json(text: &str) -> Vec<Result<Value, SyntaxError>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values
        .map(|value| {
            value.map_err(|e| {
                let suffix = format!(" at line {} column {}", e.line(), e.column());
                let text = e.to_string();
                SyntaxError {
                    place: format!("line {}, column {}", e.line(), e.column()),
                    message: one_line(text.strip_suffix(&suffix).unwrap_or(&text)),
                }
            })
        })
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good(text: &str, syntax: Syntax) -> Vec<Value> {
        documents(text, syntax).into_iter().filter_map(|d| d.value.ok()).collect()
    }

    #[test]
    fn documents_are_cut_at_markers_and_empty_ones_left_out() {
        let text =
            "# head\n---\na: 1\n---\n# nothing\n---\nb: |\n  text\n  --- not a marker\n--- {c: 3}\n---\n";
        let all = documents(text, Syntax::Yaml);
        assert_eq!(all.iter().map(|d| d.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(
            good(text, Syntax::Yaml),
            [json!({"a": 1}), json!({"b": "text\n--- not a marker\n"}), json!({"c": 3})]
        );
    }

    #[test]
    fn a_directive_belongs_to_the_document_behind_its_marker() {
        assert_eq!(good("%YAML 1.2\n---\na: 1\n", Syntax::Yaml), [json!({"a": 1})]);
        assert_eq!(good("\u{feff}a: 1\r\n---\r\nb: 2\r\n", Syntax::Yaml), [json!({"a": 1}), json!({"b": 2})]);
    }

    #[test]
    fn a_broken_document_costs_no_other_and_names_its_place_in_the_file() {
        let all = documents("a: 1\n---\nb: 1\nb: 2\n---\nc: 3\n", Syntax::Yaml);
        let [Document { value: Ok(_), .. }, Document { value: Err(e), .. }, Document { value: Ok(_), .. }] =
            &all[..]
        else {
            panic!("{all:?}");
        };
        assert_eq!(e.place, "line 4, column 1");
        assert!(e.message.contains('b') && !e.message.contains("line"), "{}", e.message);
    }

    #[test]
    fn json_may_be_indented_with_tabs_and_repeated() {
        assert_eq!(good("{\n\t\"a\": 1\n}\n{\"b\": 2}", Syntax::Json), [json!({"a": 1}), json!({"b": 2})]);
        let broken = documents("{\"a\": 1}\n{\"b\": }", Syntax::Json);
        let Err(e) = &broken[1].value else { panic!("{broken:?}") };
        assert_eq!((e.place.as_str(), e.message.as_str()), ("line 2, column 7", "expected value"));
    }
}
