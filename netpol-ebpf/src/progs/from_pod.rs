use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{ctx::Skb, pipeline};

/// What a pod sends: translated, judged at both ends if both are here, handed over.
#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    pipeline::run::<true>(&mut Skb::new(&ctx))
}
