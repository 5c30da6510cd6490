//! Entry points.

mod clock;
mod empty;
mod from_pod;
mod to_pod;
