//! Kubernetes objects as netpol understands them. The last place that names a Kubernetes type.

mod manifest;
mod problem;

pub use manifest::Manifest;
pub use problem::{Level, ObjectRef, Problem};
