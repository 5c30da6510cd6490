//! Questions about what pods have done: what other policies would make of it, and which policies would allow it.

use k8s_openapi::{api::networking::v1::NetworkPolicy, jiff::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    history::{Changed, PolicyChange, Recalled, Simulation, Suggestion, UnknownPolicy, simulate, suggest},
    model::{self, Level, Manifest, Name, Problem},
    oracle::World,
    source,
};

/// A change of policies to be tried on what was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SimulateRequest {
    /// Manifests; of the objects in them NetworkPolicies count.
    #[serde(default)]
    pub files: Vec<ManifestFile>,
    /// Policies to be deleted.
    #[serde(default)]
    pub delete: Vec<Name>,
    /// Only what was seen since then.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// A text with manifests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name; JSON if it ends so, else YAML.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// Whose policies to suggest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SuggestRequest {
    /// The namespace.
    pub namespace: String,
    /// Only from what was seen since then.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// What a change would do to what was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Simulated {
    /// What was judged.
    pub known: Recalled,
    /// Observations that were judged.
    pub judged: usize,
    /// Those that the change makes a difference to; denials first.
    pub changed: Vec<Changed>,
    /// What somebody should know of the answer.
    pub notes: Vec<String>,
}

/// Policies, and what they were made from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Suggested {
    /// What was known.
    pub known: Recalled,
    /// The policies.
    pub suggestion: Suggestion,
}

/// Why a question about the past is not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PastError {
    /// A manifest cannot be read.
    #[error("{0}")]
    Unreadable(Box<Problem>),
    /// There is nothing to try.
    #[error("{0} holds no NetworkPolicy")]
    NoPolicy(String),
    /// A policy that is to be deleted is not there.
    #[error(transparent)]
    Unknown(#[from] UnknownPolicy),
    /// Nobody was seen.
    #[error("nothing was seen of pods of namespace {namespace} that policies did not deny ({place})")]
    NothingSeen {
        /// The namespace asked for.
        namespace: String,
        /// Where observations are kept.
        place: String,
    },
}

/// Judges what is known under other policies.
///
/// # Errors
/// If a file cannot be read as a whole or holds no policy, or a policy to be deleted is not there.
pub fn simulated(request: &SimulateRequest, world: &World, known: Recalled) -> Result<Simulated, PastError> {
    let mut notes = Vec::new();
    let mut apply = Vec::new();
    for file in &request.files {
        let found = policies(file, &mut notes)?;
        if found.is_empty() {
            return Err(PastError::NoPolicy(file.path.clone()));
        }
        apply.extend(found);
    }
    let change = PolicyChange { apply, delete: request.delete.clone() };
    let Simulation { judged, changed, unanswered } = simulate(world, &known.seen, &change)?;
    notes.extend(unanswered);
    Ok(Simulated { known, judged, changed, notes })
}

fn policies(file: &ManifestFile, notes: &mut Vec<String>) -> Result<Vec<NetworkPolicy>, PastError> {
    let source::Contents { manifests, problems } = source::read(&file.path, &file.text);
    if let Some(problem) = problems.into_iter().find(|problem| problem.level == Level::Error) {
        return Err(PastError::Unreadable(problem.into()));
    }
    let mut policies = Vec::new();
    for manifest in manifests {
        if let Manifest::NetworkPolicy(policy) = &manifest {
            let problems = model::convert(&manifest, &file.path).problems;
            notes.extend(problems.iter().map(ToString::to_string));
            policies.push((**policy).clone());
        } else {
            let object = model::reference(&manifest);
            notes.push(format!("{}: {object}: left out, only NetworkPolicies count", file.path));
        }
    }
    Ok(policies)
}

/// Policies for a namespace, from what is known.
///
/// # Errors
/// If nothing was seen of the namespace's pods.
pub fn suggested(request: &SuggestRequest, world: &World, known: Recalled) -> Result<Suggested, PastError> {
    let suggestion = suggest(world, &known.seen, &request.namespace);
    if suggestion.seen == 0 {
        let (namespace, place) = (request.namespace.clone(), known.place);
        return Err(PastError::NothingSeen { namespace, place });
    }
    Ok(Suggested { known, suggestion })
}
