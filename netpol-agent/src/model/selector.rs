use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Labels;
use crate::few::Few;

/// A label selector that could be read. One form for one meaning where that is cheap: `matchLabels` are `In` with one
/// value, the order of requirements and doubles do not count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelSelector {
    /// All of them must hold; none at all selects everything. Policies are much alike in whom they select, and share them.
    pub requirements: Arc<Few<Requirement>>,
}

/// One requirement of a [`LabelSelector`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// What must hold for it.
    pub test: Test,
}

/// What a [`Requirement`] asks of a label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Test {
    /// The label is there with one of these values.
    In(Few<String>),
    /// The label is not there, or has none of these values.
    NotIn(Few<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.selects(|key| labels.get(key))
    }

    /// Whether an object is selected whose labels are found by `value`.
    pub fn selects<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        #[cfg(test)]
        super::asked::count();
        self.requirements.iter().all(|r| r.holds(value(&r.key)))
    }

    /// A label, key and value, that everything selected has; `None` if there is no such label.
    #[must_use]
    pub fn required_label(&self) -> Option<(&str, &str)> {
        self.requirements.iter().find_map(|r| match &r.test {
            Test::In(values) if values.len() == 1 => values.first().map(|v| (r.key.as_str(), v.as_str())),
            _ => None,
        })
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.contains(v)),
            Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
        }
    }
}
