//! Packet tables: bytes in, verdict, bytes out, counters, events — for IPv4 and IPv6 (needs root).

mod epoch;
mod errors;
mod mid_flow;
mod parse;
mod policy;
mod room;
mod service;
mod spoof;
mod table;
