use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{ctx::Skb, outside};

/// What leaves by an uplink through the node's own routing: answers of the node's servers, and what its kernel reports, are
/// translated back if they are for a Service's client; all else passes.
#[classifier]
pub fn to_netdev(ctx: TcContext) -> i32 {
    outside::leaves(&Skb::new(&ctx))
}
