//! From bytes to [`Packet`]: what the kernel programs read of a packet, as a pure function of its bytes and of the ports that
//! first fragments have left.

mod buffer;
mod bytes;
pub mod extension;
mod ipv4;
mod ipv6;
pub mod options;
mod packet;
mod piece;
mod transport;

pub use buffer::{Buffer, Fragments};
pub use bytes::Bytes;
pub use ipv4::{USUAL_L4 as USUAL_L4_V4, inner as inner_v4, parse as parse_v4};
pub use ipv6::{USUAL_L4 as USUAL_L4_V6, inner as inner_v6, parse as parse_v6};
pub use packet::{Inner, Kind, L3, Packet};
