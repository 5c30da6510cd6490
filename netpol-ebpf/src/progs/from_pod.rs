use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{ctx::Skb, pipeline};

/// What a pod sends: translated, judged at both ends if both are here, handed over.
#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    let action = pipeline::run::<true>(&mut Skb::new(&ctx));
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        &ctx,
        "from_pod on interface {}: {} bytes, action {}",
        Skb::new(&ctx).ifindex(),
        ctx.len(),
        action
    );
    action
}
