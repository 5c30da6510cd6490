//! Packet tables: bytes in, verdict, bytes out, counters, events — for IPv4 and IPv6 (needs root).

mod affinity;
mod anew;
mod beside;
mod ending;
mod entry;
mod epoch;
mod errors;
mod fragments;
mod maglev;
mod mid_flow;
mod newcomer;
mod outside;
mod parse;
mod policy;
mod quotes;
mod recent;
mod refused;
mod room;
mod routes;
mod sctp;
mod service;
mod shapes;
mod source;
mod spoof;
mod table;
mod told;
