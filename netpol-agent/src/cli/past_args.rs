//! Arguments of `simulate` and `suggest`.

use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;

use super::flows_args::SinceFlag;
use crate::{ctl::api::SuggestRequest, model::Name};

/// Arguments of `simulate`.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug)]
pub struct SimulateFlags {
    /// NetworkPolicies that are added, or take the place of those with their names: YAML, or JSON if the name ends so; - for stdin
    #[arg(short, long, value_name = "FILE", required_unless_present = "delete")]
    pub file: Vec<PathBuf>,
    /// A NetworkPolicy that is deleted
    #[arg(long, value_name = "NS/NAME", value_parser = name)]
    pub delete: Vec<Name>,
    /// Only what was seen in this last while: 30m, 1h, 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<SinceFlag>,
}

/// Arguments of `suggest`.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug)]
pub struct SuggestFlags {
    /// Whose pods the policies are for
    #[arg(short, long, value_name = "NS")]
    pub namespace: String,
    /// Only from what was seen in this last while: 30m, 1h, 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<SinceFlag>,
    /// In audit mode: what they would deny passes, and is told of
    #[arg(long)]
    pub audit: bool,
}

impl SuggestFlags {
    /// The request, at the time `now`.
    #[must_use]
    pub fn request(&self, now: Timestamp) -> SuggestRequest {
        let since = self.since.map(|since| since.before(now));
        SuggestRequest { namespace: self.namespace.clone(), since }
    }
}

fn name(text: &str) -> Result<Name, &'static str> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Name::new(namespace, name))
        }
        _ => Err("a policy is named NAMESPACE/NAME"),
    }
}
