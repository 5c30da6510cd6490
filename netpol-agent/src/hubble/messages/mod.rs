//! Hubble's messages, as far as netpol fills or reads them. Names and numbers are those of `flow.proto`, `observer.proto`,
//! `relay.proto` and `peer.proto` of Hubble 1.19; fields that are not here are skipped when read and never written.

#![expect(missing_docs, reason = "what the fields mean is Hubble's to say")]

mod filter;
mod flow;
mod observer;
mod peer;

pub use filter::*;
pub use flow::*;
pub use observer::*;
pub use peer::*;
