//! Both ends of a frame replaced. By hand what helpers do for the kernel's buffers; the sums
//! are the same functions.

use netpol_common::{
    logic::csum,
    net::{Address, Be16, proto},
    parse::{Buffer, Packet},
};

use super::{family::Wired, frame::Frame};
use crate::ctx::Route;

/// Where a packet is said to come from, and where it goes.
pub struct Ends<A> {
    pub src: (A, Be16),
    pub dst: (A, Be16),
}

/// `hops`: as they are, and as they shall be. `None`: the frame is shorter than it was a moment ago, which does not happen; it is half rewritten then.
#[inline(always)]
pub fn rewrite<F: Wired>(
    frame: &mut Frame,
    packet: &Packet<F::Addr>,
    ends: &Ends<F::Addr>,
    hops: [u8; 2],
) -> Option<()> {
    if packet.tuple.proto == proto::TCP {
        follow::<F, 16>(frame, packet, ends)?;
    } else {
        follow::<F, 6>(frame, packet, ends)?;
    }
    frame.store(F::L4, [ends.src.1.raw(), ends.dst.1.raw()])?;
    F::store_ends(frame, packet, [ends.src.0, ends.dst.0], hops)
}

/// Addresses the frame to the next hop.
#[inline(always)]
pub fn address(frame: &mut Frame, way: &Route) -> Option<()> {
    frame.store(0, way.dmac)?;
    frame.store(6, way.smac)
}

/// Has the transport checksum, `AT` bytes into its header, follow.
#[inline(always)]
fn follow<F: Wired, const AT: usize>(
    frame: &mut Frame,
    packet: &Packet<F::Addr>,
    Ends { src, dst }: &Ends<F::Addr>,
) -> Option<()> {
    let tuple = &packet.tuple;
    let check: u16 = frame.linear(F::L4 + AT)?;
    let udp = tuple.proto == proto::UDP;
    // RFC 768: the sender made none.
    if udp && check == 0 {
        return Some(());
    }
    let ports = |source: Be16, destination: Be16| {
        [u32::from(source.raw()) << 16 | u32::from(destination.raw()), 0, 0, 0]
    };
    let check = csum::follow(check, csum::difference(tuple.src.to_words(), src.0.to_words()));
    let check = csum::follow(check, csum::difference(tuple.dst.to_words(), dst.0.to_words()));
    let check = csum::follow(check, csum::difference(ports(tuple.sport, tuple.dport), ports(src.1, dst.1)));
    frame.store(F::L4 + AT, if udp && check == 0 { u16::MAX } else { check })
}
