//! Fuzz targets as plain functions: libFuzzer calls them, and a test replays what it has found.

mod choices;
mod manifest;
pub mod naive;
mod parse;
mod policy;

/// A target: panics if the input shows a mistake.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("manifest", manifest::manifest),
    ("parse_v4", parse::parse_v4),
    ("parse_v6", parse::parse_v6),
    ("policy", policy::policy),
];
