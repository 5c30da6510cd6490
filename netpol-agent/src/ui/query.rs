use axum::extract::Query;
use hyper::StatusCode;
use k8s_openapi::jiff::Timestamp;

use super::answer::Refusal;
use crate::{
    cli::SinceFlag,
    flow::{Filter, Test},
};

/// Records that are shown unless told otherwise.
const LAST: usize = 200;
/// At most so many at a time: an answer is made as a whole before it is sent.
const MOST: usize = 1000;

/// The fields and values of a query, in order.
pub(super) type Fields = Query<Vec<(String, String)>>;

/// Which records: what `netpolctl flows` takes as options, under the same names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) filter: Filter,
    /// At most so many, the newest.
    pub(super) last: usize,
}

impl Wanted {
    /// Reads `namespace=shop&verdict=dropped&not=port%3D53&since=5m&last=100`, at the time `now`. Empty values are those of empty
    /// inputs, and say nothing.
    pub(super) fn read(fields: &[(String, String)], now: Timestamp) -> Result<Self, Refusal> {
        let mut wanted = Self { filter: Filter::default(), last: LAST };
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let wrong = |words: String| Refusal::new(StatusCode::BAD_REQUEST, format!("{field}: {words}"));
            match &**field {
                "not" => wanted.filter.not.push(value.parse().map_err(wrong)?),
                "since" => {
                    let ago: SinceFlag = value.parse().map_err(|words: &str| wrong(words.to_owned()))?;
                    wanted.filter.since = Some(ago.before(now));
                }
                "last" => {
                    let number = value.parse();
                    wanted.last =
                        number.map_err(|error| wrong(format!("{value:?} is no number: {error}")))?;
                    if wanted.last > MOST {
                        return Err(wrong(format!("at most {MOST}")));
                    }
                }
                field => wanted.filter.only.push(Test::parse(field, value).map_err(wrong)?),
            }
        }
        Ok(wanted)
    }
}

/// The one value of a field; empty if it is not there.
pub(super) fn one<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
}
