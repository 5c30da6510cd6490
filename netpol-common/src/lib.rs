//! The words that the kernel programs and the agent share: map layouts, numbers, names, the packet parser, and
//! the pure logic that both sides run.
//!
//! - **Byte order.** Addresses and the ports of [`net::Be16`] are as they lie in the packet. Ports of policy keys and
//!   of events are in host order (`u16`), because prefixes are cut from numbers.
//! - **Padding.** Every layout is `#[repr(C)]` without implicit padding (the `Pod` derive proves it): a key with
//!   uninitialised bytes misses silently.
//! - **Direction** is always as the pod sees it, never as the hook does.
#![no_std]

pub mod cluster;
pub mod config;
pub mod conntrack;
pub mod direction;
pub mod endpoint;
pub mod event;
pub mod fragment;
pub mod hook;
pub mod limits;
pub mod logic;
pub mod lookup;
pub mod names;
pub mod net;
pub mod parse;
pub mod peer;
pub mod policy;
pub mod reap;
pub mod reason;
pub mod service;
pub mod socket;
pub mod stats;
pub mod told;
pub mod uplink;
pub mod version;
pub mod wire;
