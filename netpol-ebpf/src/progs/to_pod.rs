use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{ctx::Skb, pipeline};

/// What a pod is about to receive from elsewhere: judged, replies of Services translated back.
#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    let action = pipeline::run::<false>(&mut Skb::new(&ctx));
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        &ctx,
        "to_pod on interface {}: {} bytes, action {}",
        Skb::new(&ctx).ifindex(),
        ctx.len(),
        action
    );
    action
}
