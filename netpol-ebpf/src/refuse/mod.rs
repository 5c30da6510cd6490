//! Telling a client at once that nobody answers, in the place of whoever would have: a TCP reset, or an ICMP error. And telling
//! who sends by a way past the node's routing what that would have told: that a packet is too big.
//!
//! The packet that asked becomes the answer and goes straight to the pod that sent it, or out by the uplink that it came in
//! by. So it meets no program on its way: the pod's policies have no say in it, as nothing of another end is in it.

mod header;
mod limit;
mod reset;
mod unreachable;

use netpol_common::{logic::tcp, net::proto, reason::DropReason, stats::Extra};

use crate::{ctx::Skb, family::Family, forward::DROP, metrics, parse::Packet};
pub use header::Header;
pub use limit::admits;
pub use unreachable::make as make_error;

/// Makes the packet its own answer and hands it to the pod that sent it. The TC action; what must not be answered, or
/// finds no answer, is dropped.
#[inline(always)]
pub fn answer<F: Family + Header>(skb: &mut Skb, packet: &Packet<F::Addr>) -> i32 {
    if make::<F>(skb, packet) { skb.redirect_peer(skb.ifindex()) } else { DROP }
}

/// Makes the packet its own answer; `false` if it must not be answered, or finds no answer.
#[inline(always)]
pub fn make<F: Family + Header>(skb: &mut Skb, packet: &Packet<F::Addr>) -> bool {
    if !skb.is_for_one() || F::is_for_many(packet.tuple.dst) {
        return false;
    }
    let made = match packet.tuple.proto {
        proto::TCP if packet.has_l4 && packet.tcp_flags & tcp::bits::RST == 0 => {
            reset::make::<F>(skb, packet)
        }
        proto::UDP | proto::SCTP if packet.has_l4 => limited::<F>(skb, packet),
        // A later fragment has no type.
        other if other == F::ICMP && packet.tcp_flags == F::ECHO_REQUEST => limited::<F>(skb, packet),
        _ => return false,
    };
    if made.is_ok() {
        metrics::extra(Extra::Refused);
    }
    made.is_ok()
}

#[inline(always)]
fn limited<F: Family + Header>(skb: &mut Skb, packet: &Packet<F::Addr>) -> Result<(), DropReason> {
    if !admits(skb.ifindex()) {
        metrics::extra(Extra::Unrefused);
        return Err(DropReason::NoBackend);
    }
    make_error::<F>(skb, F::PORT_UNREACHABLE, 0, (packet.tuple.dst, packet.tuple.src))
}

/// Makes the packet, which goes from `src` to `dst` and not by a way that takes `mtu` bytes, the ICMP error that says so; `false`
/// if there were too many of them lately.
#[inline(always)]
pub fn too_big<F: Family + Header>(skb: &mut Skb, mtu: u16, src: F::Addr, dst: F::Addr) -> bool {
    admits(skb.ifindex()) && make_error::<F>(skb, F::TOO_BIG, mtu, (dst, src)).is_ok()
}
