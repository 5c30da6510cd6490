//! What single packets have met, told so that people understand it: events of the kernel are decoded, given names, and
//! kept for `netpolctl flows`.

mod attribute;
mod decode;
mod filter;
#[cfg(test)]
mod flows_page;
mod life;
mod metrics;
mod party;
mod policy;
#[cfg(test)]
mod reasons_page;
mod record;
mod store;
#[cfg(test)]
pub(crate) mod tests_support;

pub use attribute::{Names, attribute, too_loud};
pub use decode::{Decoded, Ends, Fault, Outcome, decode};
pub use filter::{Filter, Test};
pub use life::{Span, live};
pub use metrics::{Breakdown, FlowMetrics, Sink};
pub(crate) use party::no_labels;
pub use party::{PartyRecord, ServiceRecord};
pub use policy::{PolicyKind, PolicyRecord};
pub use record::{FlowRecord, Kind, SCHEMA, Traffic, Verdict, protocol_name, protocol_number};
pub use store::{FlowStore, Followed, Follower, StoreCounts, Wanted};
