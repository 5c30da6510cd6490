//! Packets in packets: IPv4 in IPv4 (RFC 2003), IPv6 in IPv6 (RFC 2473). The outer packet goes to the backend's address, and says its
//! port where no receiver looks: in the identification of a packet that is not to be fragmented (RFC 6864 §4.1), in the flow label.

use aya_ebpf::bindings::{BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6};
use netpol_common::{
    cluster::kind,
    conntrack::Tuple,
    logic::csum,
    net::{Address, Be16, V4, V6, proto},
    reason::DropReason,
};

use crate::{
    ctx::Skb,
    family::{Ipv4, Ipv6, OUTER_L3},
    maps::{CLUSTER4, CLUSTER6},
    outside::Routed,
    refuse::Header,
};

/// Hops between nodes.
const HOPS: u32 = 64;
/// What a length field can say.
const LONGEST: u32 = 0xffff;

/// A family whose packets are carried in packets of its own.
pub trait Tunnelled: Routed + Header {
    /// Protocol number of a packet in a packet.
    const TUNNEL: u8;

    /// Whether the packet carries another one, right behind its header.
    fn is_tunnel(skb: &Skb) -> bool;
    /// Who in the cluster an address is, and the address of its row (`netpol_common::cluster`). No `Option`: the compiler would look
    /// at what is not there, before it looks whether it is.
    fn cluster(addr: Self::Addr) -> (u32, Self::Addr);
    /// `dsr::suits`, of its own.
    fn suits_apart() -> u64;
    /// Puts the packet, which is `several` or one, into another one from `src` to the pod `dst` with that port.
    fn wrap(
        skb: &mut Skb,
        src: Self::Addr,
        dst: Self::Addr,
        port: Be16,
        several: bool,
    ) -> Result<(), DropReason>;
    /// The port that the outer header says; `None` if `wrap` makes no such header.
    fn carried_port(skb: &Skb) -> Option<Be16>;

    /// The tuple of the packet whose header lies at `l3`, if its ports lie right behind that.
    fn plain_tuple(skb: &Skb, l3: u32) -> Option<Tuple<Self::Addr>>;

    /// The address that this node sends such packets from, if it does.
    #[inline(always)]
    fn own() -> Option<Self::Addr> {
        match Self::cluster(Self::Addr::from_words([0; 4])) {
            (kind::OWN, addr) => Some(addr),
            _ => None,
        }
    }
}

impl Tunnelled for Ipv4 {
    const TUNNEL: u8 = proto::IPV4;

    #[inline(always)]
    fn is_tunnel(skb: &Skb) -> bool {
        carries::<9>(skb, Self::TUNNEL)
    }

    #[inline(always)]
    fn cluster(addr: V4) -> (u32, V4) {
        // SAFETY: copied at once; the agent replaces rows whole.
        unsafe { CLUSTER4.get(addr) }.map_or((kind::NOBODY, V4(0)), |row| (row.kind, row.addr))
    }

    #[inline(always)]
    fn suits_apart() -> u64 {
        super::np_suits4()
    }

    #[inline(always)]
    fn wrap(skb: &mut Skb, src: V4, dst: V4, port: Be16, several: bool) -> Result<(), DropReason> {
        // Version and length, class of service, total length.
        let inner = u32::from_be(skb.load(OUTER_L3)?);
        make_room(skb, Self::LEN, several, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)?;
        let len = outer_length(inner & LONGEST, Self::LEN);
        // The two bits of RFC 3168 stay behind: nobody would bring a mark back in.
        let class = inner & 0x00fc_0000;
        let first = (0x4500_0000 | class | len).to_be();
        let second = (u32::from(port.to_host()) << 16 | 0x4000).to_be();
        let third = (HOPS << 24 | u32::from(Self::TUNNEL) << 16).to_be();
        let check = csum::finish(csum::sum(&[first, second, third, src.0, dst.0]));
        let third = third | u32::from(u16::from_be(check)).to_be();
        skb.store(OUTER_L3, &[first, second, third, src.0, dst.0])
    }

    #[inline(always)]
    fn carried_port(skb: &Skb) -> Option<Be16> {
        let [first, second]: [u32; 2] = skb.load(OUTER_L3).ok()?;
        let whole = u32::from_be(first) >> 24 == 0x45 && u32::from_be(second) & LONGEST == 0x4000;
        whole.then_some(Be16::from_host((u32::from_be(second) >> 16) as u16))
    }

    #[inline(always)]
    fn plain_tuple(skb: &Skb, l3: u32) -> Option<Tuple<V4>> {
        let [first, second, third, src, dst, ports]: [u32; 6] = skb.load(l3).ok()?;
        let plain = u32::from_be(first) >> 24 == 0x45 && u32::from_be(second) & 0x1fff == 0;
        let proto = (u32::from_be(third) >> 16) as u8;
        plain.then(|| tuple(V4(src), V4(dst), ports, proto))
    }
}

impl Tunnelled for Ipv6 {
    const TUNNEL: u8 = proto::IPV6;

    #[inline(always)]
    fn is_tunnel(skb: &Skb) -> bool {
        carries::<6>(skb, Self::TUNNEL)
    }

    #[inline(always)]
    fn cluster(addr: V6) -> (u32, V6) {
        // SAFETY: as for IPv4.
        unsafe { CLUSTER6.get(addr) }.map_or((kind::NOBODY, V6([0; 4])), |row| (row.kind, row.addr))
    }

    #[inline(always)]
    fn suits_apart() -> u64 {
        super::np_suits6()
    }

    #[inline(always)]
    fn wrap(skb: &mut Skb, src: V6, dst: V6, port: Be16, several: bool) -> Result<(), DropReason> {
        // Version, class and flow label; payload length, next header, hop limit.
        let [head, sizes]: [u32; 2] = skb.load(OUTER_L3)?;
        make_room(skb, Self::LEN, several, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)?;
        let len = outer_length(u32::from_be(sizes) >> 16, Self::LEN);
        let class = u32::from_be(head) & 0x0fc0_0000;
        let first = (0x6000_0000 | class | u32::from(port.to_host())).to_be();
        let second = (len << 16 | u32::from(Self::TUNNEL) << 8 | HOPS).to_be();
        let ([a, b, c, d], [e, f, g, h]) = (src.0, dst.0);
        skb.store(OUTER_L3, &[first, second, a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    fn carried_port(skb: &Skb) -> Option<Be16> {
        let [first, second]: [u32; 2] = skb.load(OUTER_L3).ok()?;
        let label = u32::from_be(first) & 0x000f_ffff;
        // Behind this header, not behind extensions of it.
        let direct = u32::from_be(second) >> 8 & 0xff == u32::from(Self::TUNNEL);
        (direct && label <= LONGEST).then_some(Be16::from_host(label as u16))
    }

    #[inline(always)]
    fn plain_tuple(skb: &Skb, l3: u32) -> Option<Tuple<V6>> {
        let [_, sizes, a, b, c, d, e, f, g, h, ports]: [u32; 11] = skb.load(l3).ok()?;
        let proto = (u32::from_be(sizes) >> 8) as u8;
        Some(tuple(V6([a, b, c, d]), V6([e, f, g, h]), ports, proto))
    }
}

/// The length of the outer packet, as its field says it; 0 for one that it cannot say (a GSO packet: BIG TCP).
#[inline(always)]
const fn outer_length(inner: u32, header: u32) -> u32 {
    if inner == 0 || inner + header > LONGEST { 0 } else { inner + header }
}

/// Room for the outer header.
#[inline(always)]
fn make_room(skb: &mut Skb, len: u32, several: bool, tunnel: u32) -> Result<(), DropReason> {
    if several { skb.make_outer_room(len, tunnel) } else { skb.make_room(len) }
}

/// Whether the byte at `AT` of the header is `protocol`.
#[inline(always)]
fn carries<const AT: u32>(skb: &Skb, protocol: u8) -> bool {
    match skb.linear::<u8>((OUTER_L3 + AT) as usize) {
        Some(byte) => byte == protocol,
        None => skb.load::<u8>(OUTER_L3 + AT) == Ok(protocol),
    }
}

/// `ports` as they lie.
#[inline(always)]
fn tuple<A>(src: A, dst: A, ports: u32, proto: u8) -> Tuple<A> {
    let (sport, dport) = (Be16::from_raw(ports as u16), Be16::from_raw((ports >> 16) as u16));
    Tuple { src, dst, sport, dport, proto }
}
