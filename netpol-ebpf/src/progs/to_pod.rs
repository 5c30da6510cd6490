use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{ctx::Skb, pipeline};

/// What a pod is about to receive from elsewhere: judged, replies of Services translated back.
#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    pipeline::run::<false>(&mut Skb::new(&ctx))
}
