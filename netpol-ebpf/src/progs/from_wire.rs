use aya_ebpf::{macros::xdp, programs::XdpContext};

use crate::wire;

/// What comes in by an uplink, before the kernel has a buffer for it: what goes through this node to a backend of another one, or
/// comes back from there, is translated and sent on; what goes to a pod of this node is translated and marked; all else passes, to
/// `from_netdev`, as it is.
#[xdp]
pub fn from_wire(ctx: XdpContext) -> u32 {
    wire::arrives(ctx.ctx)
}
