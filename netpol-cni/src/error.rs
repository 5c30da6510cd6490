//! Errors as the specification has them: a number and a message, as JSON on stdout.

use std::fmt;

/// The numbers that the specification gives ("Error", from 1.0.0 on; 50 is of 1.1.0's STATUS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Code {
    /// Incompatible CNI version.
    Version = 1,
    /// Invalid necessary environment variables.
    Environment = 4,
    /// I/O failure.
    Io = 5,
    /// Failed to decode content.
    Decode = 6,
    /// Invalid network configuration.
    Configuration = 7,
    /// Try again later.
    Later = 11,
    /// The plugin is not available: ADD would fail.
    NotAvailable = 50,
    /// The agent will not police this interface, whenever it is asked. (From 100 on numbers are the plugin's own.)
    Refused = 100,
}

/// A call that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What goes to stdout.
    pub(crate) fn to_json(&self, version: &str) -> serde_json::Value {
        serde_json::json!({"cniVersion": version, "code": self.code as u32, "msg": self.message})
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
