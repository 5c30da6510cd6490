//! The tables of Services that are hash or prefix maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netpol_common::{
    names,
    net::{Be16, V4, V6},
    service::{ClientKey4, ClientKey6, FrontendKey4, FrontendKey6, FrontendRow, MemberKey4, MemberKey6},
};

use super::{
    Object,
    maps::{bits, net4, net6},
    table::{Hash, Lpm, delete, delete_prefix, hash, lpm, put, put_prefix, read, read_prefixes},
};
use crate::dataplane::{Backend, Error, Frontend, Member, Rows, SourceRange};

/// Value of a row that means something by being there.
const PRESENT: u32 = 0;
/// Bits of [`FrontendRow::svc`] in front of a source range.
const SVC_BITS: u32 = u32::BITS;

/// Frontends, members, source ranges and the prefixes of Services' addresses.
pub(super) struct Services {
    fe4: Hash<FrontendKey4, FrontendRow>,
    fe6: Hash<FrontendKey6, FrontendRow>,
    member4: Hash<MemberKey4, u32>,
    member6: Hash<MemberKey6, u32>,
    range4: Lpm<ClientKey4, u32>,
    range6: Lpm<ClientKey6, u32>,
    net4: Lpm<V4, u32>,
    net6: Lpm<V6, u32>,
    pub(super) rooms: Rooms,
}

/// How many rows fit, per family.
pub(super) struct Rooms {
    pub(super) frontends: usize,
    pub(super) members: usize,
    pub(super) ranges: usize,
    pub(super) nets: usize,
}

impl Services {
    pub(super) fn new(object: &mut Object) -> Result<Self, Error> {
        let (fe4, frontends) = hash(object, names::FE4)?;
        let (member4, members) = hash(object, names::MEMBER4)?;
        let (range4, ranges) = lpm(object, names::RANGE4)?;
        let (net4, nets) = lpm(object, names::SVCNET4)?;
        Ok(Self {
            fe4,
            fe6: hash(object, names::FE6)?.0,
            member4,
            member6: hash(object, names::MEMBER6)?.0,
            range4,
            range6: lpm(object, names::RANGE6)?.0,
            net4,
            net6: lpm(object, names::SVCNET6)?.0,
            rooms: Rooms { frontends, members, ranges, nets },
        })
    }

    /// Adds what the tables hold.
    pub(super) fn read(&self, rows: &mut Rows) -> Result<(), Error> {
        rows.frontends = read(&self.fe4, names::FE4, frontend4)?;
        rows.frontends.extend(read(&self.fe6, names::FE6, frontend6)?);
        rows.members.extend(read(&self.member4, names::MEMBER4, member4)?.into_keys());
        rows.members.extend(read(&self.member6, names::MEMBER6, member6)?.into_keys());
        rows.ranges.extend(read_prefixes(&self.range4, names::RANGE4, range4)?.into_keys());
        rows.ranges.extend(read_prefixes(&self.range6, names::RANGE6, range6)?.into_keys());
        rows.service_nets.extend(read_prefixes(&self.net4, names::SVCNET4, net4)?.into_keys());
        rows.service_nets.extend(read_prefixes(&self.net6, names::SVCNET6, net6)?.into_keys());
        Ok(())
    }

    pub(super) fn put_frontend(&mut self, frontend: &Frontend, row: &FrontendRow) -> Result<(), Error> {
        match frontend_key(frontend) {
            Key::V4(key) => put(&mut self.fe4, &key, row, names::FE4),
            Key::V6(key) => put(&mut self.fe6, &key, row, names::FE6),
        }
    }

    pub(super) fn delete_frontend(&mut self, frontend: &Frontend) -> Result<(), Error> {
        match frontend_key(frontend) {
            Key::V4(key) => delete(&mut self.fe4, &key, names::FE4),
            Key::V6(key) => delete(&mut self.fe6, &key, names::FE6),
        }
    }

    pub(super) fn put_member(&mut self, member: &Member) -> Result<(), Error> {
        match member_key(member) {
            Key::V4(key) => put(&mut self.member4, &key, &PRESENT, names::MEMBER4),
            Key::V6(key) => put(&mut self.member6, &key, &PRESENT, names::MEMBER6),
        }
    }

    pub(super) fn delete_member(&mut self, member: &Member) -> Result<(), Error> {
        match member_key(member) {
            Key::V4(key) => delete(&mut self.member4, &key, names::MEMBER4),
            Key::V6(key) => delete(&mut self.member6, &key, names::MEMBER6),
        }
    }

    pub(super) fn put_range(&mut self, range: &SourceRange) -> Result<(), Error> {
        match range_key(range) {
            (bits, Key::V4(key)) => put_prefix(&mut self.range4, (bits, key), &PRESENT, names::RANGE4),
            (bits, Key::V6(key)) => put_prefix(&mut self.range6, (bits, key), &PRESENT, names::RANGE6),
        }
    }

    pub(super) fn delete_range(&mut self, range: &SourceRange) -> Result<(), Error> {
        match range_key(range) {
            (bits, Key::V4(key)) => delete_prefix(&mut self.range4, (bits, key), names::RANGE4),
            (bits, Key::V6(key)) => delete_prefix(&mut self.range6, (bits, key), names::RANGE6),
        }
    }

    pub(super) fn put_net(&mut self, net: &IpNet) -> Result<(), Error> {
        match net.network() {
            IpAddr::V4(addr) => put_prefix(&mut self.net4, bits(net, addr), &PRESENT, names::SVCNET4),
            IpAddr::V6(addr) => put_prefix(&mut self.net6, bits(net, addr), &PRESENT, names::SVCNET6),
        }
    }

    pub(super) fn delete_net(&mut self, net: &IpNet) -> Result<(), Error> {
        match net.network() {
            IpAddr::V4(addr) => delete_prefix(&mut self.net4, bits(net, addr), names::SVCNET4),
            IpAddr::V6(addr) => delete_prefix(&mut self.net6, bits(net, addr), names::SVCNET6),
        }
    }
}

enum Key<A, B> {
    V4(A),
    V6(B),
}

fn frontend_key(Frontend { addr, port, proto }: &Frontend) -> Key<FrontendKey4, FrontendKey6> {
    let (port, proto) = (Be16::from_host(*port), *proto);
    match addr {
        IpAddr::V4(addr) => Key::V4(FrontendKey4 { addr: (*addr).into(), port, proto, pad: 0 }),
        IpAddr::V6(addr) => Key::V6(FrontendKey6 { addr: (*addr).into(), port, proto, pad: 0 }),
    }
}

pub(super) fn frontend4(FrontendKey4 { addr, port, proto, pad: _ }: FrontendKey4) -> Frontend {
    Frontend { addr: IpAddr::V4(addr.into()), port: port.to_host(), proto }
}

pub(super) fn frontend6(FrontendKey6 { addr, port, proto, pad: _ }: FrontendKey6) -> Frontend {
    Frontend { addr: IpAddr::V6(addr.into()), port: port.to_host(), proto }
}

fn member_key(Member { svc, backend: Backend { addr, port } }: &Member) -> Key<MemberKey4, MemberKey6> {
    let (svc, port) = (*svc, Be16::from_host(*port));
    match addr {
        IpAddr::V4(addr) => Key::V4(MemberKey4 { svc, addr: (*addr).into(), port, pad: 0 }),
        IpAddr::V6(addr) => Key::V6(MemberKey6 { svc, addr: (*addr).into(), port, pad: 0 }),
    }
}

fn member4(MemberKey4 { svc, addr, port, pad: _ }: MemberKey4) -> Member {
    Member { svc, backend: Backend { addr: Ipv4Addr::from(addr).into(), port: port.to_host() } }
}

fn member6(MemberKey6 { svc, addr, port, pad: _ }: MemberKey6) -> Member {
    Member { svc, backend: Backend { addr: Ipv6Addr::from(addr).into(), port: port.to_host() } }
}

fn range_key(SourceRange { svc, net }: &SourceRange) -> (u32, Key<ClientKey4, ClientKey6>) {
    let key = match net.network() {
        IpAddr::V4(addr) => Key::V4(ClientKey4 { svc: *svc, addr: addr.into() }),
        IpAddr::V6(addr) => Key::V6(ClientKey6 { svc: *svc, addr: addr.into() }),
    };
    (SVC_BITS + u32::from(net.prefix_len()), key)
}

fn range4(bits: u32, ClientKey4 { svc, addr }: ClientKey4) -> Option<SourceRange> {
    Some(SourceRange { svc, net: net4(bits.checked_sub(SVC_BITS)?, addr)? })
}

fn range6(bits: u32, ClientKey6 { svc, addr }: ClientKey6) -> Option<SourceRange> {
    Some(SourceRange { svc, net: net6(bits.checked_sub(SVC_BITS)?, addr)? })
}
