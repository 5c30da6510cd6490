//! Packets by hand, and the kernel programs run on them with `BPF_PROG_TEST_RUN`: tables of packet in, packet out, verdict
//! and counters. The same packets feed the benchmark.

mod build;
mod checksum;
mod lab;
mod refusal;
mod world;

pub use build::{
    ACK, ETHERNET, Extension, FIN_ACK, Fragment, PSH_ACK, RST, SYN, SYN_ACK, arp, echo_reply, echo_request,
    encapsulated, extended, fragment, icmp_error, numbered, other, packet_too_big, sctp, tcp, udp,
    unreachable, whole_icmp_error, with_ipv4_options,
};
pub use checksum::verify;
pub use lab::{Counted, Hook, Lab, NO_INGRESS, Place, Seen, Uplink, Verdict, in_lab};
pub(crate) use lab::{asked, lab_of, run_context};
pub use refusal::{reset_of, unreachable_of};
pub(crate) use world::POD;
pub use world::{World, open, slot_for_pods};
