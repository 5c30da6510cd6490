//! The version of everything pinned.

use crate::names;

/// Names the pin directory (`v6`). Goes up with every change of a map's layout or meaning, so that an agent never
/// reads another version's rows, but for those of [`LAYOUTS`].
pub const ABI_VERSION: u32 = 6;

/// Tables that go over from one version to another, and the number of each one's layout: a version takes over those whose number it
/// has too. A number goes up, along with [`ABI_VERSION`], with every change of the table's key or value, of what they mean, or of how
/// the programs use them.
///
/// Of [`names::CONFIG`] that is [`Config::epoch`](crate::config::Config::epoch) alone, of [`names::FE4`] and [`names::FE6`] the key and
/// [`FrontendRow::svc`](crate::service::FrontendRow::svc): they say what the others' rows mean, and are not taken over themselves.
pub const LAYOUTS: [(&str, u32); 12] = [
    (names::CT4, 2),
    (names::CT6, 2),
    (names::QUOTA, 1),
    (names::FRAG4, 1),
    (names::FRAG6, 1),
    (names::AFF4, 1),
    (names::AFF6, 1),
    (names::SOCK, 1),
    (names::MARK, 1),
    (names::CONFIG, 1),
    (names::FE4, 1),
    (names::FE6, 1),
];
