//! What differs between IPv4 and IPv6: layouts, tables, numbers. Everything else is generic over [`Family`].

use aya_ebpf::maps::{HashMap, LruHashMap, lpm_trie::Key};
use netpol_common::{
    config::flags::{ACROSS4, ACROSS6},
    conntrack::{CtEntry, CtKey4, CtKey6, Tuple},
    logic::csum,
    net::{Address, Be16, V4, V6},
    peer::PeerRow,
    policy::ClassId,
    reason::DropReason,
    service::{
        AffinityRow, Backend6, ClientKey4, ClientKey6, FrontendKey4, FrontendKey6, FrontendRow, MemberKey4,
        MemberKey6, ServiceRow,
    },
};

use crate::{
    ctx::Skb,
    ending, entries, maps,
    nat::{Change, End},
    parse::{self, Inner, L3, Packet},
    peer,
    progs::Hook,
    service,
};

pub trait Family: 'static {
    type Addr: Address;
    type CtKey: Copy + 'static;
    type ClientKey: Copy + 'static;
    /// The switch for packets to and from other nodes' pods.
    const ACROSS: u32;
    /// Whether the ICMP checksum covers the addresses of the outer header.
    const ICMP_PSEUDO_HEADER: bool;

    fn parse(skb: &mut Skb, hook: Hook) -> Result<Packet<Self::Addr>, DropReason>;
    fn inner(skb: &Skb, l3: u32) -> Option<Inner<Self::Addr>>;
    /// Of the entry under the tuple; `beside` is 1 for that beside it (see `netpol_common::conntrack::BESIDE`), else 0.
    fn ct_key(tuple: &Tuple<Self::Addr>, beside: u32) -> Self::CtKey;
    fn ct() -> &'static HashMap<Self::CtKey, CtEntry>;
    /// Who an address is; an address that nothing names is matched by rules without peers only.
    fn peer(addr: Self::Addr) -> PeerRow;
    fn frontend(addr: Self::Addr, port: Be16, proto: u8) -> Option<FrontendRow>;
    fn backend(row: u32) -> Option<(Self::Addr, Be16)>;
    /// A word of the Maglev table that begins at a row of the arena.
    fn ring_word(row: u32, word: u32) -> Option<u64>;
    /// Key of a client of the Service's port `svc` in the table of affinity.
    fn client_key(svc: u32, client: Self::Addr) -> Self::ClientKey;
    fn affinity() -> &'static LruHashMap<Self::ClientKey, AffinityRow>;
    /// Whether Services' addresses are taken from a prefix that the address lies in.
    fn is_for_services(addr: Self::Addr) -> bool;
    /// Whether an address is in the source ranges of a Service's port.
    fn in_range(svc: u32, addr: Self::Addr) -> bool;
    /// Whether a backend may go on answering for a Service's port.
    fn is_member(svc: u32, addr: Self::Addr, port: Be16) -> bool;
    /// Whether a backend is one of those that a row names.
    fn is_among(among: ServiceRow, addr: Self::Addr, port: Be16) -> bool;
    /// `entries::enter_entries`, of its own.
    fn enter_apart(svc: u32) -> u32;
    /// `ending::remove`, of its own.
    fn ended_apart();
    /// Offset of a transport header behind a network header without options.
    const USUAL_L4: u32;
    /// Writes both addresses, the network header's checksum if it has one, and with `ports` the ports, which begin at
    /// [`USUAL_L4`](Family::USUAL_L4) then.
    fn store_tuple(
        skb: &mut Skb,
        check: u16,
        ends: &Tuple<Self::Addr>,
        ports: bool,
    ) -> Result<(), DropReason>;
    /// Writes an address of the network header at `l3`, and its checksum if it has one.
    fn store_address(
        skb: &mut Skb,
        l3: u32,
        check: u16,
        change: &Change<Self::Addr>,
    ) -> Result<(), DropReason>;
}

pub struct Ipv4;
pub struct Ipv6;

impl Family for Ipv4 {
    type Addr = V4;
    type CtKey = CtKey4;
    type ClientKey = ClientKey4;
    const ACROSS: u32 = ACROSS4;
    const ICMP_PSEUDO_HEADER: bool = false;
    const USUAL_L4: u32 = parse::USUAL_L4_V4;

    #[inline(always)]
    fn parse(skb: &mut Skb, hook: Hook) -> Result<Packet<V4>, DropReason> {
        parse::parse_v4(skb, &parse::Datagrams, hook)
    }
    #[inline(always)]
    fn inner(skb: &Skb, l3: u32) -> Option<Inner<V4>> {
        parse::inner_v4(skb, l3)
    }
    #[inline(always)]
    fn ct_key(tuple: &Tuple<V4>, beside: u32) -> CtKey4 {
        CtKey4::of(tuple).beside_if(beside)
    }
    #[inline(always)]
    fn ct() -> &'static HashMap<CtKey4, CtEntry> {
        &maps::CT4
    }
    #[inline(always)]
    fn peer(addr: V4) -> PeerRow {
        // SAFETY: copied at once; the agent replaces rows whole.
        if let Some(row) = unsafe { maps::PEER4.get(addr) } {
            return *row;
        }
        unnamed(maps::CIDR4.get(Key::new(32, addr)).map(|row| row.class))
    }
    #[inline(always)]
    fn frontend(addr: V4, port: Be16, proto: u8) -> Option<FrontendRow> {
        // SAFETY: as in `peer`.
        unsafe { maps::FE4.get(FrontendKey4 { addr, port, proto, pad: 0 }) }.copied()
    }
    #[inline(always)]
    fn backend(row: u32) -> Option<(V4, Be16)> {
        let ptr = maps::BE4.get_ptr(row)?;
        // SAFETY: a pointer into an array map; one volatile load, since the agent writes through mmap.
        let raw = unsafe { ptr.cast::<u64>().read_volatile() };
        Some((V4(raw as u32), Be16::from_raw((raw >> 32) as u16)))
    }
    #[inline(always)]
    fn ring_word(row: u32, word: u32) -> Option<u64> {
        // SAFETY: as in `backend`.
        Some(unsafe { maps::BE4.get_ptr(row + word)?.cast::<u64>().read_volatile() })
    }
    #[inline(always)]
    fn client_key(svc: u32, client: V4) -> ClientKey4 {
        ClientKey4 { svc, addr: client }
    }
    #[inline(always)]
    fn affinity() -> &'static LruHashMap<ClientKey4, AffinityRow> {
        &maps::AFF4
    }
    #[inline(always)]
    fn is_for_services(addr: V4) -> bool {
        maps::SVCNET4.get(Key::new(32, addr)).is_some()
    }
    #[inline(always)]
    fn in_range(svc: u32, addr: V4) -> bool {
        maps::RANGE4.get(Key::new(64, ClientKey4 { svc, addr })).is_some()
    }
    #[inline(always)]
    fn is_member(svc: u32, addr: V4, port: Be16) -> bool {
        maps::MEMBER4.get_ptr(MemberKey4 { svc, addr, port, pad: 0 }).is_some()
    }
    #[inline(always)]
    fn is_among(among: ServiceRow, addr: V4, port: Be16) -> bool {
        service::np_among4(among.0, addr.0.into(), port.raw().into()) != 0
    }
    #[inline(always)]
    fn enter_apart(svc: u32) -> u32 {
        entries::np_entries4(svc.into()) as u32
    }
    #[inline(always)]
    fn ended_apart() {
        ending::np_ended4();
    }
    #[inline(always)]
    fn store_tuple(skb: &mut Skb, check: u16, ends: &Tuple<V4>, ports: bool) -> Result<(), DropReason> {
        let (src, dst) = (u64::from(ends.src.0), u64::from(ends.dst.0));
        // Whole words, which the helper's copying need not wait for: two bytes of checksum, four of each address, two of each port.
        let words = [u64::from(check) | src << 16 | dst << 48, dst >> 16 | u64::from(ends.ports()) << 16]
            .map(u64::to_le);
        skb.store_first(L3 + 10, &words, if ports { 14 } else { 10 })
    }
    #[inline(always)]
    fn store_address(skb: &mut Skb, l3: u32, check: u16, change: &Change<V4>) -> Result<(), DropReason> {
        let difference = csum::difference(change.old.to_words(), change.new.to_words());
        let check = csum::follow(check, difference);
        skb.store(l3 + 10, &check)?;
        skb.store(l3 + if change.end == End::Source { 12 } else { 16 }, &change.new)
    }
}

impl Family for Ipv6 {
    type Addr = V6;
    type CtKey = CtKey6;
    type ClientKey = ClientKey6;
    const ACROSS: u32 = ACROSS6;
    const ICMP_PSEUDO_HEADER: bool = true;
    const USUAL_L4: u32 = parse::USUAL_L4_V6;

    #[inline(always)]
    fn parse(skb: &mut Skb, hook: Hook) -> Result<Packet<V6>, DropReason> {
        parse::parse_v6(skb, &parse::Datagrams, hook)
    }
    #[inline(always)]
    fn inner(skb: &Skb, l3: u32) -> Option<Inner<V6>> {
        parse::inner_v6(skb, l3)
    }
    #[inline(always)]
    fn ct_key(tuple: &Tuple<V6>, beside: u32) -> CtKey6 {
        CtKey6::of(tuple).beside_if(beside)
    }
    #[inline(always)]
    fn ct() -> &'static HashMap<CtKey6, CtEntry> {
        &maps::CT6
    }
    #[inline(always)]
    fn peer(addr: V6) -> PeerRow {
        // SAFETY: copied at once; the agent replaces rows whole.
        if let Some(row) = unsafe { maps::PEER6.get(addr) } {
            return *row;
        }
        unnamed(maps::CIDR6.get(Key::new(128, addr)).map(|row| row.class))
    }
    #[inline(always)]
    fn frontend(addr: V6, port: Be16, proto: u8) -> Option<FrontendRow> {
        // SAFETY: as in `peer`.
        unsafe { maps::FE6.get(FrontendKey6 { addr, port, proto, pad: 0 }) }.copied()
    }
    #[inline(always)]
    fn backend(row: u32) -> Option<(V6, Be16)> {
        let ptr = maps::BE6.get_ptr(row)?;
        // SAFETY: a pointer into an array map; the agent writes a range only while no service row names it.
        let backend = unsafe { ptr.read_volatile() };
        Some((backend.addr, backend.port))
    }
    #[inline(always)]
    fn ring_word(row: u32, word: u32) -> Option<u64> {
        const WORDS: u32 = (size_of::<Backend6>() / size_of::<u64>()) as u32;
        let words = maps::BE6.get_ptr(row + word / WORDS)?.cast::<[u64; WORDS as usize]>();
        // SAFETY: as in `backend`; a row is as large as these words, and aligned as they are.
        let [first, second, third] = unsafe { words.read_volatile() };
        Some(match word % WORDS {
            0 => first,
            1 => second,
            _ => third,
        })
    }
    #[inline(always)]
    fn client_key(svc: u32, client: V6) -> ClientKey6 {
        ClientKey6 { svc, addr: client }
    }
    #[inline(always)]
    fn affinity() -> &'static LruHashMap<ClientKey6, AffinityRow> {
        &maps::AFF6
    }
    #[inline(always)]
    fn is_for_services(addr: V6) -> bool {
        maps::SVCNET6.get(Key::new(128, addr)).is_some()
    }
    #[inline(always)]
    fn in_range(svc: u32, addr: V6) -> bool {
        maps::RANGE6.get(Key::new(160, ClientKey6 { svc, addr })).is_some()
    }
    #[inline(always)]
    fn is_member(svc: u32, addr: V6, port: Be16) -> bool {
        maps::MEMBER6.get_ptr(MemberKey6 { svc, addr, port, pad: 0 }).is_some()
    }
    #[inline(always)]
    fn is_among(among: ServiceRow, addr: V6, port: Be16) -> bool {
        let [a, b, c, d] = addr.0.map(u64::from);
        service::np_among6(among.0, a | b << 32, c | d << 32, port.raw().into()) != 0
    }
    #[inline(always)]
    fn enter_apart(svc: u32) -> u32 {
        entries::np_entries6(svc.into()) as u32
    }
    #[inline(always)]
    fn ended_apart() {
        ending::np_ended6();
    }
    #[inline(always)]
    fn store_tuple(skb: &mut Skb, _check: u16, ends: &Tuple<V6>, ports: bool) -> Result<(), DropReason> {
        skb.store_first(L3 + 8, ends, if ports { 36 } else { 32 })
    }
    #[inline(always)]
    fn store_address(skb: &mut Skb, l3: u32, _check: u16, change: &Change<V6>) -> Result<(), DropReason> {
        skb.store(l3 + if change.end == End::Source { 8 } else { 24 }, &change.new)
    }
}

#[inline(always)]
fn unnamed(class: Option<ClassId>) -> PeerRow {
    PeerRow { class: class.unwrap_or(ClassId::ANY), ifindex: 0, flags: peer::UNNAMED }
}

/// Offset of the network header of the packet itself, beside that of a quoted one.
pub const OUTER_L3: u32 = L3;
