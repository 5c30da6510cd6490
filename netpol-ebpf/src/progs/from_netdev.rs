use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{ctx::Skb, outside};

/// What comes in by an uplink: what is for a Service is translated, judged and sent on; all else passes.
#[classifier]
pub fn from_netdev(ctx: TcContext) -> i32 {
    outside::arrives(&mut Skb::new(&ctx))
}
