//! Label selectors as `kubectl -l` takes them: `app=db,tier in (a, b),!canary`.

use std::{fmt, str::FromStr, sync::Arc};

use super::selector::{LabelSelector, Requirement, Test};
use crate::few::Few;

/// Why a text is no label selector.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectorError {
    /// Two commas, or one at an end.
    #[error("a requirement is missing: there is a comma too many")]
    Empty,
    /// There is no key before the operator, or it is no word.
    #[error("{0:?} has no key, or one with blanks in it")]
    Key(String),
    /// `in` and `notin` need a list.
    #[error("{0:?}: values in parentheses must follow, separated by commas")]
    Values(String),
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    /// Reads `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key` and `!key`, separated by commas.
    /// An empty text selects everything.
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let requirements = split(text).into_iter().map(requirement).collect::<Result<_, _>>()?;
        Ok(Self { requirements: Arc::new(requirements) })
    }
}

impl TryFrom<String> for LabelSelector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<LabelSelector> for String {
    fn from(selector: LabelSelector) -> Self {
        selector.to_string()
    }
}

/// At the commas that are not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut within) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' => within = true,
            ')' => within = false,
            ',' if !within => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement, SelectorError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SelectorError::Empty);
    }
    let one = |value: &str| Few::from([value.trim().to_owned()]);
    let (key, test) = if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Test::In(one(value)))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Test::DoesNotExist)
    } else if let Some((key, rest)) = text.split_once(char::is_whitespace) {
        (key, set(text, rest.trim())?)
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "()!=".contains(c)) {
        return Err(SelectorError::Key(text.to_owned()));
    }
    Ok(Requirement { key: key.to_owned(), test })
}

/// What follows the key of `key in (a,b)`.
fn set(text: &str, rest: &str) -> Result<Test, SelectorError> {
    let wrong = || SelectorError::Values(text.to_owned());
    let (negated, list) = match rest.strip_prefix("notin") {
        Some(list) => (true, list),
        None => (false, rest.strip_prefix("in").ok_or_else(wrong)?),
    };
    let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')')).ok_or_else(wrong)?;
    let values: Few<String> = list.split(',').map(|value| value.trim().to_owned()).collect();
    Ok(if negated { Test::NotIn(values) } else { Test::In(values) })
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, test } = self;
        let list = |values: &Few<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        match test {
            Test::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Test::In(values) => write!(f, "{key} in ({})", list(values)),
            Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Test::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Test::Exists => write!(f, "{key}"),
            Test::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in ["app=db", "a!=b", "a in (x,y)", "a notin (x,y)", "a", "!a", "!b,a in (x,y),c=", ""] {
            let selector: LabelSelector = text.parse().unwrap();
            let again: LabelSelector = selector.to_string().parse().unwrap();
            assert_eq!(selector, again, "{text}");
        }
        let sloppy: LabelSelector = " app == db , tier in ( a , b ) ".parse().unwrap();
        assert_eq!(sloppy.to_string(), "app=db,tier in (a,b)");
    }

    #[test]
    fn all_requirements_must_hold() {
        let labels = Labels::new([("app".to_owned(), "db".to_owned()), ("tier".into(), "a".into())].into());
        let selects = |text: &str| text.parse::<LabelSelector>().unwrap().matches(&labels);
        for yes in ["", "app=db", "app=db,tier", "tier in (a,b)", "!canary", "app!=web", "zone notin (x)"] {
            assert!(selects(yes), "{yes}");
        }
        for no in ["app=web", "app=db,!tier", "tier notin (a,b)", "canary", "app!=db"] {
            assert!(!selects(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for wrong in [",", "a,,b", "=x", "a b", "a in x", "a in (x", "a like (x)", "!", "! =x"] {
            assert!(wrong.parse::<LabelSelector>().is_err(), "{wrong}");
        }
    }
}
