//! A list of plugins, whose keys and plugins are kept as they are written: other versions' and other plugins' are not understood here.

use std::{fmt, time::Duration};

use netpol_cni::{DEFAULT_DIR, TYPE, VERSIONS};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

/// The configuration cannot have the plugin.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not the JSON of a configuration.
    #[error("not a network configuration: {0}")]
    Json(#[from] serde_json::Error),
    /// It has no plugins.
    #[error("plugins is missing or empty")]
    NoPlugins,
    /// Of a version whose results the plugin cannot pass on.
    #[error("cniVersion is {0:?}: the plugin can be chained in {versions}", versions = VERSIONS.join(", "))]
    Version(String),
}

/// What the plugin is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Whether it stands in front as well.
    pub hold: bool,
    /// Where the agent is met.
    pub dir: String,
    /// How long ADD waits, in whole seconds.
    pub timeout: Duration,
    /// Whether pods start without their policy where the agent is away.
    pub fail_open: bool,
}

impl Entry {
    fn last(&self) -> Value {
        let mut entry = json!({"type": TYPE, "timeoutSeconds": self.timeout.as_secs()});
        if self.dir != DEFAULT_DIR {
            entry["dir"] = json!(self.dir);
        }
        if self.fail_open {
            entry["failOpen"] = json!(true);
        }
        entry
    }
}

/// A list, in the order of its text.
#[derive(Debug)]
pub struct List {
    /// All keys but `plugins`.
    before: Vec<(String, Box<RawValue>)>,
    plugins: Vec<Box<RawValue>>,
    after: Vec<(String, Box<RawValue>)>,
}

/// By what is written, apart from white space between keys and plugins.
impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.to_text() == other.to_text()
    }
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    /// If it is none, or has no plugins.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let Keys(keys) = serde_json::from_str(text)?;
        let mut list = Self { before: Vec::new(), plugins: Vec::new(), after: Vec::new() };
        let mut met = false;
        for (key, value) in keys {
            match key.as_str() {
                "plugins" => {
                    list.plugins = serde_json::from_str(value.get())?;
                    met = true;
                }
                _ if met => list.after.push((key, value)),
                _ => list.before.push((key, value)),
            }
        }
        match list.plugins.is_empty() {
            true => Err(ListError::NoPlugins),
            false => Ok(list),
        }
    }

    /// The list of a single plugin, which keeps its own keys.
    ///
    /// # Errors
    /// If it is no plugin.
    pub fn around(text: &str) -> Result<Self, ListError> {
        let Keys(keys) = serde_json::from_str(text)?;
        if !keys.iter().any(|(key, _)| key == "type") {
            return Err(ListError::NoPlugins);
        }
        let (before, own): (Vec<_>, Vec<_>) = keys
            .into_iter()
            .partition(|(key, _)| matches!(key.as_str(), "cniVersion" | "name" | "disableCheck"));
        let plugin =
            RawValue::from_string(object(own.iter().map(|(key, value)| (key.as_str(), value.get())), 4))?;
        Ok(Self { before, plugins: vec![plugin], after: Vec::new() })
    }

    /// With the plugin, once in its place or places.
    ///
    /// # Errors
    /// If the list is of a version that the plugin does not speak, or has no other plugin.
    pub fn with(&self, entry: &Entry) -> Result<Self, ListError> {
        let version = self.before.iter().chain(&self.after).find(|(key, _)| key == "cniVersion");
        let version = version.and_then(|(_, value)| serde_json::from_str::<String>(value.get()).ok());
        let version = version.unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(ListError::Version(version));
        }
        let mut list = self.without();
        if list.plugins.is_empty() {
            return Err(ListError::NoPlugins);
        }
        if entry.hold {
            list.plugins.insert(0, RawValue::from_string(json!({"type": TYPE, "hold": true}).to_string())?);
        }
        list.plugins.push(RawValue::from_string(entry.last().to_string())?);
        Ok(list)
    }

    /// Without the plugin.
    #[must_use]
    pub fn without(&self) -> Self {
        let others = self.plugins.iter().filter(|plugin| !is_ours(plugin));
        Self { before: self.before.clone(), plugins: others.cloned().collect(), after: self.after.clone() }
    }

    /// What is to be written.
    #[must_use]
    pub fn to_text(&self) -> String {
        let plugins: Vec<&str> = self.plugins.iter().map(|plugin| plugin.get()).collect();
        let plugins = format!("[\n    {}\n  ]", plugins.join(",\n    "));
        let raw = |(key, value): &'_ (String, Box<RawValue>)| (key.clone(), value.get().to_owned());
        let before = self.before.iter().map(raw);
        let keys = before.chain([("plugins".to_owned(), plugins)]).chain(self.after.iter().map(raw));
        let keys: Vec<(String, String)> = keys.collect();
        object(keys.iter().map(|(key, value)| (key.as_str(), value.as_str())), 2) + "\n"
    }
}

fn is_ours(plugin: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Type {
        r#type: Option<String>,
    }
    serde_json::from_str::<Type>(plugin.get()).is_ok_and(|plugin| plugin.r#type.as_deref() == Some(TYPE))
}

/// An object of these keys and values, a line each.
fn object<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>, indent: usize) -> String {
    let lines: Vec<String> =
        keys.map(|(key, value)| format!("{:indent$}{}: {value}", "", Value::from(key))).collect();
    format!("{{\n{}\n{:outer$}}}", lines.join(",\n"), "", outer = indent - 2)
}

/// The keys of an object in their order, with their values as they are written.
struct Keys(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
