//! The parser against [`naive`](crate::naive).

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpol_common::{
    conntrack::Tuple,
    fragment::{FragKey4, FragKey6, FragRow},
    hook::Hook,
    net::{Address, V4, V6},
    parse::{self, Bytes, Fragments, Inner, Kind, Packet},
    reason::DropReason,
};

use crate::naive::{self, Reader, Reading};

/// Ethernet's header, which the parser does not read.
const ETHERNET: [u8; 14] = [0; 14];

/// The table of one family, in plain memory.
struct Table<K>(RefCell<HashMap<Vec<u8>, FragRow>>, std::marker::PhantomData<K>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(RefCell::default(), std::marker::PhantomData)
    }
}

impl<K: bytemuck::Pod> Fragments<K> for Table<K> {
    fn get(&self, key: &K) -> Option<FragRow> {
        self.0.borrow().get(bytemuck::bytes_of(key)).copied()
    }
    fn put(&self, key: &K, row: FragRow) -> Result<(), DropReason> {
        self.0.borrow_mut().insert(bytemuck::bytes_of(key).to_vec(), row);
        Ok(())
    }
}

/// IPv4 packets, one after the other.
pub(crate) fn parse_v4(data: &[u8]) {
    let table = Table::<FragKey4>::default();
    compare::<V4>(
        4,
        data,
        |buffer, hook| parse::parse_v4(buffer, &table, hook),
        |buffer, l3| parse::inner_v4(buffer, l3),
    );
}

/// IPv6 packets, one after the other.
pub(crate) fn parse_v6(data: &[u8]) {
    let table = Table::<FragKey6>::default();
    compare::<V6>(
        6,
        data,
        |buffer, hook| parse::parse_v6(buffer, &table, hook),
        |buffer, l3| parse::inner_v6(buffer, l3),
    );
}

/// A packet of the input: two bytes of length, one that says how it is seen, and the packet from its network header on. The
/// last one may be cut short.
fn packets(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, how, rest @ ..] = data else { return None };
        let len = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
        let (packet, rest) = rest.split_at(len);
        data = rest;
        Some((*how, packet))
    })
}

/// # Panics
/// If the two readers do not say the same.
fn compare<A: Address>(
    family: u8,
    data: &[u8],
    parse: impl Fn(&mut Bytes<'_>, Hook) -> Result<Packet<A>, DropReason>,
    inner: impl Fn(&Bytes<'_>, u32) -> Option<Inner<A>>,
) {
    let mut reader = Reader::default();
    for (how, packet) in packets(data) {
        let frame = [&ETHERNET, packet].concat();
        let hook = if how & 1 == 0 { Hook::FromPod } else { Hook::ToPod };
        let ifindex = u32::from(how >> 1 & 1);
        // Any part of a packet may not be linear.
        let linear = if how & 4 == 0 { frame.len() } else { usize::from(how >> 3) * 4 };
        let mut buffer = Bytes::new(&frame, linear, ifindex);
        let seen = parse(&mut buffer, hook);
        let expected = reader.read(family, &frame, hook, ifindex);
        assert_eq!(seen.map(|packet| reading(&packet)), expected, "{hook:?} {frame:02x?}");
        let Ok(packet) = seen else { continue };
        if family == 4 {
            assert_eq!(packet.l3_check.to_ne_bytes(), frame[24..26], "checksum in {frame:02x?}");
        }
        if packet.kind == Kind::IcmpError {
            let seen = inner(&buffer, packet.l4 + 8);
            let expected = naive::quoted(family, &frame, packet.l4 as usize);
            assert_eq!(seen.map(|inner| five(&inner.tuple)), expected, "quoted in {frame:02x?}");
        }
    }
}

fn ip<A: Address>(addr: A) -> IpAddr {
    let words = addr.to_words();
    if A::FAMILY == 4 {
        Ipv4Addr::from(V4::from_words(words)).into()
    } else {
        Ipv6Addr::from(V6(words)).into()
    }
}

fn five<A: Address>(tuple: &Tuple<A>) -> (IpAddr, IpAddr, u8, u16, u16) {
    let Tuple { src, dst, sport, dport, proto } = *tuple;
    (ip(src), ip(dst), proto, sport.to_host(), dport.to_host())
}

fn reading<A: Address>(packet: &Packet<A>) -> Reading {
    let (src, dst, protocol, sport, dport) = five(&packet.tuple);
    let l4 = packet.l4 as usize;
    Reading {
        kind: packet.kind,
        src,
        dst,
        protocol,
        sport,
        dport,
        l4,
        flags: packet.tcp_flags,
        has_l4: packet.has_l4,
    }
}
